"""From an RSA key to a certificate for it, by a CA that was asked with the box's own CSR."""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hq.tests.service.conftest import SetStage

from otscert.domain.assurance import Contribution
from otscert_agent.wire import b64
from tests.harness.hq import default_models, make_model
from tests.harness.rsa_keys import prime, rsa_csr, rsa_key


async def test_an_rsa_box_gets_its_certificate(stage: SetStage) -> None:
    setting = await stage()
    models = default_models() | {"rsa": make_model("rsa", allow_rsa=True, min_contribution=Contribution.NONE)}
    async with setting.hq(models=models) as scene:
        box, key = scene.box(model="rsa"), rsa_key(prime(), prime())
        await box.hello()
        (await box.enroll(csr=b64.encode(rsa_csr(key, box.names)))).granted()
        while (reply := await box.poll()).message["status"] == "waiting":
            pass
        assert reply.message["status"] == "issued"
        leaf = x509.load_pem_x509_certificates(reply.message["chain"].encode())[0]
        assert leaf.public_key() == key.public_key()
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        named = hashlib.sha256(spki).digest()
        # The index and the certificate name the key alike, so what is compromised can be found by either.
        assert await scene.hq.rows("SELECT spki_sha256 FROM certificate") == [(named,)]
        assert await scene.hq.rows("SELECT spki_sha256 FROM verified_key WHERE kind = 'certificate'") == [(named,)]
