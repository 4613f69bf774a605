"""Proper names in messages: people by name and login, cities, countries, months, whatever a sentence says of them.

What a program is built from has a capital too (Redis, Stripe, String); those names stay, because they tell problems
apart.
"""

from __future__ import annotations

import re

from watchfloor.trace_headers import ends_like_a_type

# Names that are English or technical words as well (mark, max, grace, will) are left out.
_FIRST_NAMES_WORDS = """
    aaron abby abdul adam adrian ahmed aiko aisha alan albert alejandro alex alexander alexandra alexei ali alice
    alicia alina allison alyssa amanda amelia amir amit amy ana anastasia andre andrea andreas andrew angela anil anita
    anjali ann anna anne annika anthony antoine antonio anya arjun arthur astrid barbara beatrice ben benjamin bernd
    bianca birgit bjorn bob bogdan brandon brenda brian bridget bruno camila carla carlos carmen carol caroline
    catherine cecilia charlie charlotte chen chloe chris christian christina christine christopher claire clara claudia
    connor cynthia daniel daniela danielle dave david deborah deepak denise dennis derek diana diego dimitri dmitri
    dominik donald donna dorothy dylan edith eduardo edward eileen elena eli elias elisabeth elizabeth ella ellen elsa
    emil emilia emily emma enrique eric erica erik erika erin ernesto esther ethan eugene eva evan evelyn fatima
    felicia felix fernando fiona florian francesca francesco francisco francois frida fritz gabriel gabriela gary
    georg george gerald gianni giovanni giulia giuseppe gloria gordon greg gregor gretchen guillermo gunther gustav
    hanna hannah hans harold harry hasan hassan heather heidi heinrich helen helena helga henrik henry hiro hiroshi
    hugo ian ibrahim igor ines ingrid irina irene isaac isabel isabella ivan jacob jamal james jamie jan jana jane
    janet jason javier jean jeff jeffrey jennifer jenny jeremy jessica jim joan joao joe joel joerg johan johann johanna
    john johnny jonas jonathan jorge jose josef joseph joshua juan juana judith judy julia julian julie jun juri karen
    karin karl karol katarina kate katherine kathleen katja katrin kavya keiko keith kelly kenji kenneth kevin khalid
    kimberly klaus kristina kurt kyle lars laura lauren lena leon leonard leonardo lidia liam lina linda lisa logan
    lorenzo louis louise luca lucas lucia lucy luigi luis lukas luke maggie magnus malik mallory manuel marco marcus
    margaret maria marie marina mario marta martha martin martina mary mateo mathias matt matteo matthew matthias mehmet
    mei melanie melissa mia michael michel michelle miguel mihai mikael mike mikhail milan miriam mohamed mohammed
    monica monika moritz muhammad nadia nancy natalia natalie natasha nathan neha nicholas nick nicola nicolas nicole
    nikita nikolai nikos nils nina noah nora norbert olaf oleg olga oliver olivia omar oscar oskar otto pablo pamela
    paolo patricia patrick paul paula pavel pedro peggy peter petra philip philipp pierre piotr priya rachel rafael
    rahul raj rajesh ralf ramon raquel rashid raul ravi rebecca regina renate ricardo richard rita robert roberto
    rodrigo roland roman ronald rosa rosalind rosie roxana ruben rudolf ruth ryan sabine sakura salma samantha samir
    samuel sandra sanjay sara sarah satoshi scott sean sebastian selma sergei sergio shaun sharon shreya silvia simon
    simone sofia sofie sonia sophia sophie stefan stefanie stephanie stephen steve steven sunita susan susanne sven
    svetlana sybil sylvia takeshi tamara tanja tanya tariq tatiana teresa theo theodore theresa thomas tim timothy tina
    tess tessa tobias tom tomas trent trudy ulrich ulrike ursula uwe valentina vanessa vera veronica victor victoria vijay viktor
    vincent vivian vladimir walter wanda wei wendy werner wilhelm william wolfgang xavier yara yasmin yuki yuri yusuf
    yvonne zainab zoe
    """
_FIRST_NAMES = frozenset(_FIRST_NAMES_WORDS.split())
# Capitalised only.
_PLACES_WORDS = """
    amsterdam antwerp athens atlanta austin bangkok barcelona basel beijing belgrade bergen berlin bern bilbao birmingham
    bologna bordeaux boston bremen brisbane bristol brno brussels bucharest budapest cairo calgary cardiff chennai
    chicago cologne copenhagen dallas delhi denver detroit dortmund dresden dubai dublin edinburgh florence
    frankfurt gdansk geneva genoa glasgow gothenburg graz hamburg hanoi hanover helsinki houston istanbul jakarta
    johannesburg karachi kiev krakow kyiv kyoto lagos leeds leipzig lille lima linz lisbon liverpool ljubljana lodz london
    luxembourg lyon madrid malaga malmo manchester manila marseille melbourne memphis miami milan montreal moscow mumbai
    munich nairobi nantes naples nashville nuremberg oakland osaka oslo ottawa oxford palermo paris perth
    philadelphia pisa porto portland prague quebec riga rome rotterdam salzburg santiago seattle seoul seville
    shanghai singapore sofia stockholm stuttgart sydney taipei tallinn tampa tokyo toronto toulouse trieste turin utrecht
    valencia vancouver venice verona vienna vilnius warsaw zagreb zaragoza zurich
    argentina australia austria belgium brazil bulgaria canada chile china colombia croatia cyprus denmark egypt england
    estonia finland france germany greece hungary iceland india indonesia ireland israel italy japan kenya latvia
    lithuania malaysia malta mexico morocco netherlands nigeria norway pakistan peru philippines poland portugal romania
    russia scotland serbia slovakia slovenia spain sweden switzerland taiwan thailand turkey ukraine vietnam
    january february april june july august september october november december
    dale dean drew faith frank glen grace heath jack jing li ming neil ray rose wade ying
    monday tuesday wednesday thursday friday saturday sunday
    """
_PLACES = frozenset(_PLACES_WORDS.split())
# What a program talks to or is made of.
_PARTS_WORDS = """
    access active adyen aerospike airflow algolia amazon android angular ansible apache api apollo app application
    array athena aurora azure bigquery bool boolean bucket bytes cassandra celery chrome client cloudflare cloudfront
    cloudwatch cognito consul controller couchbase couchdb customer customers data database date datadog datetime debezium
    decimal device dict django docker double druid dropbox duration dynamo elastic elasticache elasticsearch element
    entity enum envoy etcd event events exchange facebook fargate fastly filter firebase firefox firehose firestore flask
    float flink flutter gateway github gitlab glue gmail google gradle grafana graph graphql hadoop handler hazelcast
    hbase heroku hibernate hive hubspot ignite image influx instagram int integer intercom internet invoice invoices item
    items java jenkins jira json kafka keycloak kibana kinesis klarna kong kubernetes lambda ldap linkedin linux list
    log logstash long looker magento mailchimp mailgun main map maria mastercard maven memcached memory message messages
    microsoft milvus mongo mongodb mongoose mssql mysql nats neptune net netty nginx node none null number object okta
    optional oracle order orders outlook page parquet payload payment payments paypal pinecone pinot platform plaid
    postgres postgresql postmark prisma product products prometheus pulsar puma python queue rabbit rabbitmq rails redis
    redshift report reports request response ruby rust sagemaker salesforce sap schema segment sendgrid sentry sequelize
    server service session set shipment shipments shopify sidekiq slack snowflake socket solr spanner spark splunk spring
    sqlite square storage stripe string struct table telegram terraform thread tomcat topic trino tuple twilio twitter
    type undefined user users uuid value varchar vault version visa vonage web webhook whatsapp windows worker worldpay
    xero xml yaml youtube zendesk zookeeper zoom zuora
    """
_PARTS = frozenset(_PARTS_WORDS.split())
# The companies that do not exist.
_COMPANIES_WORDS = """
    acme adatum contoso cyberdyne dunder fabrikam globex globocorp hooli initech initrode lumon northwind oscorp
    soylent stark tailspin tyrell umbrella vandelay wayne weyland wonka yoyodyne
    """
_COMPANIES = frozenset(_COMPANIES_WORDS.split())
# ISO codes, but those that programs use for something else (IO, ID, DB).
_COUNTRIES_WORDS = """
    AE AR AT AU BE BG BR CA CH CL CN CO CY CZ DE DK EE EG ES EU FI FR GB GR HK HR HU IE IL IN IS IT JP KE KR LT LU LV MA
    MT MX MY NG NL NO NZ PE PH PK PL PT RO RS RU SA SE SG SI SK TH TR TW UA UK US UY VN ZA
    """
_COUNTRIES = frozenset(_COUNTRIES_WORDS.split())
_BEFORE_COUNTRY = frozenset(("for", "in", "of", "from", "to", "into", "country", "market", "region", "locale"))
_PLACE_CODE = re.compile(r"[A-Z]{3}")
_ENVIRONMENT = re.compile(r"(?:[a-z]{2,12}-)?(?:prod|production|staging|stage|preprod|uat|qa|sandbox)(?:-[a-z]{2,12})?")
_SURNAMES = (
    "doe|smith|jones|brown|johnson|williams|miller|davis|garcia|martinez|lopez|gonzalez|hernandez|wilson|anderson|"
    "thomas|taylor|moore|jackson|martin|lee|kim|park|nguyen|patel|singh|khan|mueller|muller|schmidt|schneider|fischer|"
    "weber|meyer|kowalski|nowak|novak|ivanov|petrov|petrova|rossi|ferrari|silva|santos|tanaka|sato|suzuki|wang|chen|"
    "zhang|liu|yang|haddad|hassan|ali|dupont|bernard|jensen|hansen|olsen|larsen|berg|murphy|kelly|baker|clark|lewis"
)
# jsmith, j.smith, anna.schmidt, anna_s.
_LOGIN = re.compile(rf"[a-z]{{1,2}}[._]?(?:{_SURNAMES})")
_ACCOUNT = re.compile(r"svc[._\-][a-z][\w.\-]{1,40}")
_INITIAL = re.compile(r"[a-z][._][a-z]{3,20}|[a-z]{3,20}[._][a-z]")
_ABOUT = frozenset(("for", "by", "of", "from", "to", "in", "at", "on", "near", "as", "with"))
NOUN_ENDINGS = ("tion", "sion", "ing", "ment", "ance", "ence", "ity", "ness", "ship", "ed", "er", "or")
# "uploaded by ann", "request by ann": somebody did it. "Closed by peer" is another matter.
_DONE_BY = re.compile(
    r"(?:held|hold|locked|taken|request|upload|submit|creat|approv|trigger|start|initiat|order|plac|book|cancel|sign|edit|chang|modif|post|"
    r"updat|delet|login|purchas|schedul|open|own)\w{0,6}|\*"
)
_NOBODY_WORDS = """
    admin administrator operator scheduler cron schedule api webhook client peer server host user system timer policy
    firewall kernel supervisor remote proxy gateway caller consumer producer default design hand mistake request rule
    rules signal upstream downstream another other others someone anyone
    a an the process thread transaction session query root null none
    """
_NOBODY = frozenset(_NOBODY_WORDS.split())


def names_part(word: str) -> bool:
    """Whether a word is the name of what programs are made of or talk to."""
    return word.lower() in _PARTS


def names_somebody(word: str, before: str, further_before: str) -> bool:
    """Whether a word, by itself or by the two words before it, is a proper name or a login."""
    lower = word.lower()
    if names_more(word) and (
        lower in _PLACES or (before in _ABOUT and lower not in _PARTS and not lower.endswith(NOUN_ENDINGS))
    ):
        return True
    if names_more(word) and lower not in _PARTS and (before, further_before) == ("and", "*"):
        # "by Ann and Grace".
        return True
    if names_more(word) and lower not in _PARTS and before == "*" and further_before in _ABOUT:
        # "of 10 Downing Street".
        return True
    parts = re.split(r"[._\-]", lower)
    if (
        (parts[0] in _FIRST_NAMES or parts[0] in _COMPANIES)
        and all(part.isalpha() for part in parts)
        and not ends_like_a_type(word)
    ):
        return True
    if not word.islower() or lower in _NOBODY:
        return False
    if _LOGIN.fullmatch(lower) or _ACCOUNT.fullmatch(lower):
        return True
    if before in _ABOUT and _INITIAL.fullmatch(lower):
        return True
    return (
        before == "by"
        and _DONE_BY.fullmatch(further_before) is not None
        and not lower.endswith(("er", "or", "ing", "tion", "ment"))
        and re.fullmatch(r"[a-z]{2,20}(?:[._][a-z]{1,20})?", lower) is not None
    )


def names_place(word: str, before: str) -> bool:
    """Whether "BR" in "no tax rate for BR" is a country, "prod-eu" in "deployment to prod-eu" an environment, "AMS" in "at AMS" a place."""
    if before in ("at", "near") and _PLACE_CODE.fullmatch(word):
        return True
    return (word in _COUNTRIES and before in _BEFORE_COUNTRY) or (
        before in _ABOUT and _ENVIRONMENT.fullmatch(word) is not None
    )


def names_more(word: str) -> bool:
    """Whether a word is written as a name is; behind a name it belongs to it."""
    # O'Neill, McGrath.
    word = re.sub(r"^(?:[A-Z]['’]|Mc)(?=[A-Z])", "", word)
    return len(word) > 1 and word.isalpha() and word[0].isupper() and word[1:].islower() and not ends_like_a_type(word)
