"""What people are told with each kind of alert: why, what still works, what to do; and after how long, how often.

docs/alerts.md says the same; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class KindText:
    """How a kind is explained, and when it is told. `mend` may name the `{subject}`."""

    reason: str
    serves: str
    mend: str
    hold_s: int = 0
    """How long it must have been so without a gap before anybody is told."""
    repeat_s: int = DAY_S


TEXTS: Mapping[Kind, KindText] = {
    Kind.RENEWAL_LATE: KindText(
        reason="Half of the time that is left for a renewal is gone, and no order is just doing it.",
        serves="Boxes serve what they have until it ends; with an expired one browsers warn.",
        mend="otscert order list shows what orders wait for; otscert issuer test asks the CA; otscert doctor looks at"
        " DNS; otscert device show tells what one box does.",
        hold_s=5 * MINUTE_S,
    ),
    Kind.ORDER_STUCK: KindText(
        reason="The worker does not run or cannot follow, or an order is tried again and again without success.",
        serves="Boxes with a certificate keep it; new boxes wait, and orders are not lost.",
        mend="otscert order list shows the reason of each; HQ's log has the CA's words; otscert doctor checks HQ.",
        hold_s=5 * MINUTE_S,
    ),
    Kind.BOX_AWAY: KindText(
        reason="A box that does not call gets no order. When it comes back it gets one at once.",
        serves="Everything but these boxes; what they serve is good until it ends.",
        mend="otscert device show tells when a box was last seen. Many at once: look at their network, and whether"
        " they reach HQ (otscert doctor). alerts.away_boxes sets from how many on you are told.",
        hold_s=5 * MINUTE_S,
        repeat_s=7 * DAY_S,
    ),
    Kind.NOT_SERVED: KindText(
        reason="New certificates are written on the box, but its web server goes on with an old one.",
        serves="The old certificate is good until it ends; after two that were never seen the box gets no more.",
        mend="Look at the web server's reload on such a box (otscert device show), then otscert device rearm.",
        hold_s=5 * MINUTE_S,
    ),
    Kind.BUDGET_SHORT: KindText(
        reason="The CA limits how many certificates it gives in a time, and more are wanted.",
        serves="Boxes keep what they have. First boots go first, then what is about to expire, then the rest.",
        mend="otscert budget tells who waits, when the last one will be served, and what to ask the CA for.",
    ),
    Kind.ISSUER_DOWN: KindText(
        reason="The CA is down or slow, answers with errors, or HQ's way to it is cut.",
        serves="Boxes keep what they have; orders wait and go on by themselves.",
        mend="Look at the CA's status page and this machine's way out; otscert issuer test {subject} shows the error.",
    ),
    Kind.ISSUER_ACCOUNT: KindText(
        reason="The CA does nothing for HQ's account until a person has acted. HQ never makes a new one by itself:"
        " CAA records name the account.",
        serves="Boxes keep what they have; other issuers take over where there are any.",
        mend="otscert issuer show {subject} says what is to be done; follow the CA's link if there is one.",
    ),
    Kind.CLONE_SEEN: KindText(
        reason="A box's state or factory secret was copied, as by an image that was taken from a used box.",
        serves="Both boxes serve what they have, and get no more certificates until a person decides; all others do.",
        mend="otscert device list --state frozen names them, otscert device show tells the boards apart;"
        " docs/lifecycle.md says how to decide.",
    ),
    Kind.RNG_REPEATS: KindText(
        reason="The kernel of these boxes gives the same random bytes at different starts.",
        serves="Keys with HQ's contribution are safe. Those that were made without it may be shared by two boxes.",
        mend="Stop shipping the firmware until it is understood; otscert model show {subject} tells what HQ saw,"
        " otscert model trust-rng {subject} takes the mark off.",
    ),
    Kind.DISK_NEARLY_FULL: KindText(
        reason="The database grows, or something else fills the disk.",
        serves="Everything, until it is full. Then HQ refuses boxes; DNS goes on answering.",
        mend="Make room, or enlarge the disk. otscert doctor says how large HQ's own database is.",
    ),
    Kind.HQ_CERTIFICATE: KindText(
        reason="HQ renews its own certificates 60 days ahead where the root's key is at hand; here it could not."
        " A root is pinned in firmware, so its successor needs years.",
        serves="Everything until it ends. Then no box can talk to HQ; boxes serve what they have.",
        mend="docs/hq-root.md: otscert hq-root sign where the root's key is; for the root, otscert hq-root rotate.",
        hold_s=2 * HOUR_S,
        repeat_s=7 * DAY_S,
    ),
    Kind.HQ_NO_WORKER: KindText(
        reason="The process that obtains certificates has ended or hangs, and no other one has its role.",
        serves="Boxes are answered and DNS goes on; no certificate is obtained or renewed.",
        mend="Look at the service and its log, then start otscert serve with the role worker.",
    ),
    Kind.REVOCATION_STUCK: KindText(
        reason="The CA does not answer, or answers with an error. A certificate that should be bad is still good.",
        serves="Everything else.",
        mend="HQ's log has the CA's words (revocation.waits); otscert issuer test asks the account.",
    ),
    Kind.INCIDENT_RUNNING: KindText(
        reason="Somebody has started otscert reissue. You are told daily how far it is.",
        serves="Boxes serve what they have until they call and get another certificate; they call more often now.",
        mend="otscert reissue status {subject} tells how far it is and when it will be done.",
    ),
    Kind.CHANNEL_FAILS: KindText(
        reason="The server of this channel is down, refuses, or the settings are wrong.",
        serves="The other channels, where there are any; messages wait for three days and are tried again.",
        mend="otscert alerts test shows the error of each channel. You are not told this by {subject} itself.",
    ),
}
