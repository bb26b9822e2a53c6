# ruff: noqa: SIM905 - word lists are read and changed as text
"""The words of readable names: short, plain, inoffensive; surnames of people who advanced science or computing."""

from __future__ import annotations

ADJECTIVES = tuple(
    "able agile amber ample apt avid azure balmy blithe blue bold brave breezy bright brisk broad calm candid "
    "cheery chic civil clean clear clever cosy crimson crisp cubic curious daring deft dewy eager early earnest "
    "easy elated epic even exact fair fancy fast festive fine fleet fond frank free fresh gentle giddy glad "
    "golden good grand green hardy hasty hazel hearty honest humble ideal indigo ivory jade jaunty jolly jovial "
    "joyful keen kind lasting level light lilac lively loyal lucid lucky lunar mellow merry mild mint modest "
    "navy neat nifty nimble noble olive opal open patient peachy placid plucky polar polite prime proud pure quick "
    "quiet rapid ready regal robust rosy ruby sandy sane scarlet sharp shiny silver simple sincere smart smooth "
    "snug solar solid spry stable steady stellar sunny super swift tame teal tidy topaz trusty upbeat vast velvet "
    "violet vivid warm wise witty young zesty".split()
)
SURNAMES = tuple(
    "abel allen ampere archimedes avicenna babbage backus banach bardeen bartik bell bernoulli bohr boole bose "
    "brahe brown cantor carson cartwright cauchy cerf chandra church clarke cohen conway copernicus cori coulomb "
    "curie dalton darwin davy diffie dijkstra dirac easley edison einstein elion engelbart erdos euclid euler "
    "faraday fermat fermi feynman fourier franklin galileo galois gauss germain goodall godel goldberg goldwasser "
    "hamilton hamming hawking heisenberg hellman hermann heyrovsky hilbert hodgkin holberton hooke hopper hubble "
    "huygens hypatia jackson jang jemison johnson joliot joule kalam kapitsa kare keller kelvin kepler khorana "
    "kilby kirch knuth kovalevskaya lagrange lamarr lamport landau laplace leakey leavitt leibniz lewin liskov "
    "lovelace lumiere maxwell mayer mccarthy mcclintock mclean meitner mendel merkle meyer mirzakhani moore "
    "morse moser napier nash neumann newton nightingale nobel noether noyce pascal pasteur pauling payne perlman "
    "pike planck poincare poitras pool ptolemy raman ramanujan ride ritchie roentgen rosalind rubin saha sammet "
    "shannon shaw shirley sinoussi snyder spence stonebraker swanson swartz swirles tesla tharp thompson torvalds "
    "turing varahamihira vaughan villani volhard wescoff wiles wing wozniak wright wu yalow yonath".split()
)
