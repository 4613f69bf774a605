"""Things that messages name by what they are: "user ann", "warehouse Denver", "printer: hall"."""

from __future__ import annotations

from watchfloor.proper_names import NOUN_ENDINGS, names_more, names_part
from watchfloor.trace_headers import ends_like_a_type

EDGES = ".,:;!?()[]<>{}\"'`“”‘’«»|"

# What stands behind one of these names a thing of the customer's, unless it is plain English.
_ENTITIES_WORDS = """
    user username login customer tenant account client merchant org organisation organization company supplier host
    hostname server node pod container deployment namespace bucket sku product item device sensor region folder directory
    store shop warehouse city country coupon voucher order invoice shipment job worker session plan feature flag tag
    named called id domain site channel room team group project repository repo branch cluster instance broker member
    driver vehicle station charge transaction article ticket basket cart booking reservation campaign subscription
    contract document stream shard partition camera meter upload download peer endpoint partner vendor
    carrier courier provider bank origin lock mutex lease printer robot machine truck lorry van ship vessel aircraft
    flight train bus route line gate dock terminal floor building aisle shelf seat patient doctor student teacher
    employee operator manager technician agent rider passenger guest owner author sender recipient subscriber reader
    player team league course exam lesson campaign recipe dish game match ward hospital clinic school hotel
    restaurant factory plant turbine pump valve boiler oven elevator lift locale language translation
    task batch volume playlist album song track meeting glossary
    """
_ENTITIES = frozenset(_ENTITIES_WORDS.split())
_PLAIN_WORDS_TEXT = """
    not is was has have had does did do in on at from to with already after before because and due while of for by or
    but if then when where which who as into onto over under through the a an this that it its are be been being no
    any all may can could cannot couldn't can't will would should must were returned threw error errors failed failure
    fail fails failing exceeded timeout timed out expired missing invalid unavailable unreachable down closed lost
    denied refused rejected unknown unexpected disconnected terminated exists exist deleted disabled locked blocked
    suspended inactive empty full busy overloaded gone found back up hung hangup crashed died stopped restarted
    shutdown name names id ids type key value data record records row lookup search creation update deletion service
    services api request requests response responses limit quota count list set state status storage table token
    tokens session sessions process processing group role policy profile password permission permissions connection
    connections config configuration settings details input output information version address number size path format
    content header body queue pool cache database index file files handler manager listener consumer producer worker
    selector node server host start startup login logout registration authentication authorization credentials
    credential agent pool management import export sync synchronization synchronisation validation verification
    payment payments certificate hello handshake socket push
    """
_PLAIN_WORDS = frozenset(_PLAIN_WORDS_TEXT.split())
# "user ann failed" speaks of ann, "job scheduler failed" of the scheduler.
_PEOPLE_WORDS = """
    user username customer tenant client merchant partner supplier vendor host hostname company org organisation
    organization named called printer robot machine truck lorry van ship vessel aircraft flight train bus seat patient
    doctor student teacher employee operator technician agent rider passenger guest owner author sender recipient
    subscriber player team hospital clinic school hotel restaurant factory plant turbine pump valve boiler elevator lift
    store shop warehouse city driver vehicle station sensor camera meter folder directory carrier courier bank
    room playlist album song track glossary
    """
_PEOPLE = frozenset(_PEOPLE_WORDS.split())
_ENDED = frozenset(("failed", "fails", "aborted", "crashed"))
_WHOSE = frozenset(("for", "of", "by", "in", "from", "to", "on"))
_HOSTS = frozenset(("server", "node", "broker", "instance", "peer", "endpoint", "host", "hostname"))
_ANSWERS = frozenset(("answered", "replied", "returned", "rejected", "refused", "dropped"))
_FAILS = frozenset(("failed", "fails", "timed", "stuck", "offline", "unreachable", "unavailable", "down"))
_AFTER_NAME_WORDS = """
    not is was has have had does did in on at from to with already after before could cannot because and due while
    of for by are were will would should must can may missed exited died crashed hung stopped lost disconnected
    reported reports sent took reached requested tried evicted rebooted vanished joined needs out
    """
_AFTER_NAME = frozenset(_AFTER_NAME_WORDS.split())


def is_thing(word: str) -> bool:
    """Whether what stands behind a word may be a name."""
    return word in _ENTITIES


def is_plain(word: str) -> bool:
    """Whether a word is one that messages are made of."""
    return word in _PLAIN_WORDS or word in _ENTITIES


def reads_as_english(word: str) -> bool:
    """Whether a word is one of a sentence, rather than a part of a name."""
    return is_plain(word) or word.endswith(NOUN_ENDINGS)


def names_a_thing(entity: str, word: str, token: str, following: str, before: str = "") -> bool:
    """Whether the word behind "user", "host" and the like is whose or which, not more of the sentence."""
    lower = word.lower()
    if lower in _PLAIN_WORDS or "=" in word:
        return False
    kind = entity.rstrip(":").lower()
    if names_more(word) and entity.islower() and not names_part(word):
        # "warehouse Denver", but "Order Manager".
        return True
    is_noun = names_part(lower) or kind not in _PEOPLE if lower.endswith(("er", "or")) else lower.endswith(NOUN_ENDINGS)
    if is_noun and word.isalpha() and len(word) > 4:
        # "user registration", but "user bob.miller", "team red".
        return False
    is_code = len(word) > 4 and word.isalpha() and word.isupper() and (kind not in _PEOPLE or word.startswith("E"))
    if ends_like_a_type(word) or is_code:
        # TimeoutError, ECONNREFUSED; but "printer KITCHEN".
        return False
    after = following.strip(EDGES).lower()
    if (kind == "task" and "." in word) or (kind in ("task", "job") and after in _ENDED):
        # A function, as Celery names it; which job it was that failed.
        return False
    if any(character in "-_.:/" for character in word) or not word[1:].islower():
        return True
    if entity.endswith(":") and following and token[-1] not in ",;)":
        # "user: ann", but "cannot print invoice: font not found".
        return False
    if kind in _PEOPLE and before in _WHOSE:
        # "an invitation in team red seat limit reached".
        return True
    if kind in _HOSTS and after in _ANSWERS:
        return True
    return (
        not following
        # "endpoint web (7fa3c01)": its number stands behind it.
        or (following[0] == "(" and any(character.isdigit() or character == "*" for character in following))
        or token[-1] in ",.;:)"
        or after in _AFTER_NAME
        or (kind in _PEOPLE and (after in _FAILS or (len(after) > 4 and after.endswith("ed"))))
    )
