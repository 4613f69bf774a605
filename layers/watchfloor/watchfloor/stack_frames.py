"""Frames of stack traces: what one is, and whether its code is the team's own or a library's."""

from __future__ import annotations

import re
import string
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from posixpath import join, normpath
from typing import Any

MAX_FRAMES, MAX_MESSAGE = 60, 4_000
_OUTER_FRAMES = 10
CUT = " … [cut]"
# What a token, an address or a URL with a password may consist of; what is longer is no such thing.
_INSIDE = string.ascii_letters + string.digits + "._-+/=~%@:!$&*"
_LONGEST_WORD = 7_000

PYTHON, JAVA, NODE, GO, DOTNET, RUBY, PHP, RUST, ELIXIR = (
    "python",
    "java",
    "node",
    "go",
    "dotnet",
    "ruby",
    "php",
    "rust",
    "elixir",
)

# How an exception came to stand in a trace: the outermost one; declared cause of the one before it; met while that one
# came about, so only perhaps its cause; one of several in a group.
OUTERMOST, CAUSE, CONTEXT, MEMBER = "outermost", "cause", "context", "member"


@dataclass(frozen=True, slots=True)
class Frame:
    """One call. `source` is the line of code, if the trace shows it; `in_app` says that the code is the team's own."""

    file: str
    function: str
    line: int | None = None
    module: str = ""
    in_app: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception of a trace. Frames stand outermost first, whatever order the language prints.

    `code` is what the exception carries beside its type: ECONNREFUSED, P2002.
    """

    type: str
    message: str
    frames: tuple[Frame, ...] = ()
    relation: str = OUTERMOST
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Itself for JSON."""
        return asdict(self) | {"frames": [asdict(frame) for frame in self.frames]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Raised:
        """The inverse of `to_dict`."""
        return cls(**{**data, "frames": tuple(Frame(**frame) for frame in data["frames"])})


def cut(text: str, limit: int) -> str:
    """Text of at most `limit` characters, with a mark where something is missing.

    It ends between two words: half a secret would not be recognised as one by whoever takes secrets out later.
    """
    if len(text) <= limit:
        return text
    head = text[: limit - len(CUT)]
    whole = head.rstrip(_INSIDE)
    # A card's number stands in groups.
    while whole[-2:-1].isdigit() and whole[-1] in " -":
        whole = whole[:-1].rstrip(_INSIDE)
    return (whole if len(head) - len(whole) < _LONGEST_WORD else head) + CUT


def bounded(raised: Raised) -> Raised:
    """The exception with as much as anybody reads: the innermost frames and a few of the outermost."""
    frames = raised.frames
    if len(frames) > MAX_FRAMES:
        frames = frames[:_OUTER_FRAMES] + frames[_OUTER_FRAMES - MAX_FRAMES :]
    return replace(raised, message=cut(raised.message.strip(), MAX_MESSAGE), frames=frames)


@lru_cache(maxsize=2_048)
def placed(language: str, frame: Frame) -> Frame:
    """The frame with `in_app` decided."""
    return replace(frame, in_app=_IN_APP[language](frame))


# --- whose code it is -----------------------------------------------------------------------------------------------

_VENDORED = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|_?vendor(?:ed|s)?|third[_-]?party|bower_components|gems|"
    r"bundle|\.cargo|rustc|pkg/mod|jspm_packages|\.pnpm|\.yarn)/"
)
_SYSTEM = re.compile(
    r"^(?:/usr/(?:local/)?(?:lib|lib64|share|go)/|/usr/local/Cellar/|/var/runtime/|/var/lang/|/opt/(?:hosted|rh)/|"
    r"/opt/[^/]{0,20}python[^/]{0,20}/lib/|<frozen|<internal|\[internal)|/lib(?:64)?/(?:python\d|ruby/)|/\.?v?env/lib/|"
    r"/\.(?:pyenv|rbenv|rvm|nvm)/(?:versions|rubies)/[^/]{1,30}/lib/"
)

# Libraries that stand right beside the handler in a Lambda package (`pip install -t .`), so that no folder tells.
_PYTHON_LIBRARIES_WORDS = """
    OpenSSL PIL __pypackages__ aiobotocore aiohttp aiokafka aiomysql aiopg aioredis aiosignal alembic amqp anthropic
    anyio apscheduler arrow asgiref asyncpg attr attrs authlib awslambdaric aws_lambda_powertools aws_xray_sdk
    aws_encryption_sdk azure backoff billiard bleach boto boto3 botocore bs4 cachetools celery certifi cffi chardet
    charset_normalizer click confluent_kafka cryptography dask datadog datadog_lambda dateutil ddtrace django docker
    dns dramatiq eventlet elasticsearch elastic_transport fastapi flask flask_restful flask_sqlalchemy frozenlist
    gevent google grpc gunicorn h11 h2 hiredis httpcore httptools httpx huggingface_hub hypercorn idna iniconfig
    jinja2 jmespath joblib jose jsonschema jwt kafka kombu kubernetes langchain loguru lxml mangum markupsafe
    marshmallow matplotlib mongoengine motor msgpack multidict mypy_extensions mysql MySQLdb newrelic nltk numpy
    oauthlib openai openpyxl opensearchpy opentelemetry orjson oauth2client pandas paramiko peewee pika pkg_resources
    prometheus_client psycopg psycopg2 psycopg_pool pyarrow pyasn1 pydantic pydantic_core pydantic_settings pymongo
    pymysql pynamodb pytest pytz redis regex requests requests_oauthlib rest_framework rq ruamel s3fs s3transfer
    sagemaker sanic scipy sentry_sdk serverless_wsgi setuptools shapely simplejson simple_salesforce six sklearn
    slack_sdk smart_open sniffio snowflake sqlalchemy sqlmodel sshtunnel starlette stripe structlog tenacity
    tensorflow toml toolz torch tornado tqdm transformers twilio twisted typer typing_extensions tzlocal ujson
    unidecode urllib3 uvicorn uvloop watchtower websocket websockets werkzeug wrapt wsgiref xmltodict yaml yarl zeep
    zipp zope
    """
_PYTHON_LIBRARIES = frozenset(_PYTHON_LIBRARIES_WORDS.split())
_TASK_PACKAGE = re.compile(r"^(?:/var/task/|/opt/python/|/opt/|\./)?([A-Za-z_]\w{0,60})[/.]")

_JAVA_LIBRARY_NAMES = """
    java javax jdk sun com.sun jakarta kotlin kotlinx scala akka zio cats clojure groovy lambdainternal oracle reactor
    rx play slick doobie http4s fs2 okhttp3 okio retrofit2 feign junit net.sf net.bytebuddy net.logstash
    org.aopalliance org.apache org.aspectj org.bouncycastle org.bson org.codehaus org.eclipse org.elasticsearch
    org.flywaydb org.glassfish org.graalvm org.h2 org.hibernate org.hsqldb org.jboss org.jdbi org.jetbrains org.jooq
    org.json org.junit org.keycloak org.liquibase org.mariadb org.mockito org.mongodb org.mybatis org.neo4j
    org.opensearch org.postgresql org.quartz org.reactivestreams org.redisson org.slf4j org.springframework
    org.thymeleaf org.testng org.typelevel org.yaml org.xerial org.gradle org.http4s org.asynchttpclient org.xml
    org.w3c org.ietf org.lwjgl ch.qos com.amazon.redshift com.amazonaws com.azure com.datastax com.datadog
    com.fasterxml com.github.benmanes com.google com.hazelcast com.ibm com.jayway com.launchdarkly com.lambdaworks
    com.mchange com.microsoft com.mongodb com.mysql com.netflix com.newrelic com.nimbusds com.querydsl com.rabbitmq
    com.sendgrid com.squareup com.stripe com.twitter com.typesafe com.zaxxer dev.failsafe freemarker io.confluent
    io.dropwizard io.grpc io.github.resilience4j io.jsonwebtoken io.ktor io.lettuce io.micrometer io.micronaut
    io.netty io.opentelemetry io.opentracing io.projectreactor io.quarkus io.r2dbc io.reactivex io.sentry io.smallrye
    io.swagger io.undertow io.vavr io.vertx liquibase redis.clients software.amazon weblogic
    """
_JAVA_LIBRARIES = tuple(f"{name}." for name in _JAVA_LIBRARY_NAMES.split())
_JAVA_SHADED = re.compile(r"\.(?:shaded?|shadow|repackaged|relocated|thirdparty|vendor)\.")
_JAVA_GENERATED = re.compile(
    r"\$\$(?:FastClass|Enhancer|SpringCGLIB|EnhancerBy|Proxy|HibernateProxy|_javassist|_WeldClientProxy|KeyFactory)|"
    r"\$Proxy\d|"
    r"\$ByteBuddy|\$HibernateProxy\$|GeneratedMethodAccessor|GeneratedConstructorAccessor|LambdaForm\$|\$MockitoMock\$"
)

_DOTNET_LIBRARY_NAMES = """
    System Microsoft Amazon AutoMapper Autofac Azure Castle Confluent.Kafka Dapper DnsClient EasyNetQ Elastic
    Elasticsearch EntityFramework FluentValidation Google Grpc Hangfire HotChocolate IdentityModel IdentityServer4
    Internal JetBrains MailKit MassTransit MediatR MimeKit Mono MongoDB MySql MySqlConnector NHibernate NLog
    NServiceBus NUnit Nest NetTopologySuite Newtonsoft Npgsql OpenTelemetry Oracle Orleans Pipelines.Sockets Polly
    Quartz RabbitMQ Refit RestSharp Sentry Serilog ServiceStack StackExchange Stripe Swashbuckle Topshelf Twilio Xunit
    log4net xunit
    """
_DOTNET_LIBRARIES = tuple(f"{name}." for name in _DOTNET_LIBRARY_NAMES.split())

_GO_STANDARD_WORDS = """
    archive arena bufio builtin bytes cmp compress container context crypto database debug embed encoding errors
    expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect regexp
    runtime slices sort strconv strings structs sync syscall testing text time unicode unique unsafe vendor weak
    """
_GO_STANDARD = frozenset(_GO_STANDARD_WORDS.split())
_GO_LIBRARIES = re.compile(
    r"^(?:golang\.org/x/|google\.golang\.org/|gopkg\.in/|go\.uber\.org/|go\.opentelemetry\.io/|go\.mongodb\.org/|"
    r"gorm\.io/|k8s\.io/|sigs\.k8s\.io/|github\.com/(?:aws|gin-gonic|labstack|gorilla|go-chi|gofiber|jackc|lib|"
    r"go-sql-driver|jmoiron|redis|go-redis|gomodule|sirupsen|pkg|spf13|stretchr|urfave|valyala|hashicorp|"
    r"grpc-ecosystem|IBM|Shopify|confluentinc|segmentio|nats-io|rabbitmq|streadway|uber|rs|julienschmidt|go-kit|"
    r"go-resty|elastic|olivere|DataDog|getsentry|newrelic|prometheus|opentracing|golang-jwt|dgrijalva|google|"
    r"golang|mattn|minio|cenkalti|avast|sony|go-playground|apex|awslabs|panjf2000|robfig|hibiken|twmb|99designs|"
    r"graph-gophers|open-telemetry|docker|kubernetes|etcd-io|dgraph-io|patrickmn|go-logr|go-openapi)/)"
)

_NODE_CORE = re.compile(
    r"^(?:node:|internal/|native\b|<anonymous>|index \d|webpack/|webpack:///?(?:webpack/|\(webpack\)|external|"
    r"node_modules)|"
    r"chrome-extension:|moz-extension:|evalmachine|(?:_?(?:assert|async_hooks|buffer|child_process|cluster|crypto|"
    r"dgram|"
    r"dns|domain|events|fs|http2?|https|http_[a-z]{3,9}|module|net|path|perf_hooks|process|querystring|readline|"
    r"stream(?:_[a-z]{3,12})?|string_decoder|task_queues|timers|tls(?:_[a-z]{3,7})?|tty|url|util|vm|worker_threads|"
    r"zlib|"
    r"bootstrap_node|next_tick))\.js$)"
)
_RUST_LIBRARIES = re.compile(
    r"^<?(?:std|core|alloc|test|rust_begin_unwind|rust_panic|__rust|backtrace|tokio|tokio_\w+|hyper|hyper_util|reqwest|"
    r"actix\w*|axum|tower\w*|futures\w*|sqlx\w*|diesel|serde\w*|lambda_runtime\w*|aws_\w+|anyhow|eyre|color_eyre|"
    r"tracing\w*|rayon\w*|clap|rocket|warp|tonic|h2|mio|main$|_start|__libc_start|start_thread|clone)(?:::|$)"
)


def _by_path(path: str) -> bool:
    return bool(path) and not _SYSTEM.search(path) and not _VENDORED.search(path)


def _python(frame: Frame) -> bool:
    path = frame.file.replace("\\", "/")
    if "../" in path:
        # From /var/task a layer is ../../opt/python.
        path = normpath(join("/var/task", path))
    if not _by_path(path) or path.startswith("<") or path.endswith("/bin/gunicorn"):
        return False
    package = _TASK_PACKAGE.match(path)
    return not (package and package[1] in _PYTHON_LIBRARIES)


def _java(frame: Frame) -> bool:
    name = frame.module
    return not (name.startswith(_JAVA_LIBRARIES) or _JAVA_GENERATED.search(name) or _JAVA_SHADED.search(name))


def _node(frame: Frame) -> bool:
    path = frame.file.removeprefix("file://").replace("\\", "/")
    return _by_path(path) and not _NODE_CORE.match(path)


def _go(frame: Frame) -> bool:
    # `@v1.2.3` in the path is a module of the module cache; the team's own module has no version.
    if "@v" in frame.file or "/libexec/src/" in frame.file or "/go/src/runtime/" in frame.file:
        return False
    if not _by_path(frame.file) or _GO_LIBRARIES.match(frame.module):
        return False
    root = frame.module.split("/", 1)[0]
    # "internal/..." is the standard library's, "<own module>/internal" is not; a package of the own module may be
    # called like one of the standard library, but then the file lies elsewhere than in GOROOT.
    return root not in _GO_STANDARD or bool(re.match(r"^/(?!usr/)[^@]*\.go$", frame.file) and "/go" not in frame.file)


def _dotnet(frame: Frame) -> bool:
    return not f"{frame.module}.".startswith(_DOTNET_LIBRARIES) and not frame.function.startswith("lambda_method")


def _ruby(frame: Frame) -> bool:
    path = frame.file
    return _by_path(path) and not path.startswith(("(eval", "(irb", "<")) and not path.startswith(("bin/", "/usr/"))


def _php(frame: Frame) -> bool:
    return _by_path(frame.file.replace("\\", "/"))


def _rust(frame: Frame) -> bool:
    return not _RUST_LIBRARIES.match(frame.function) and not _VENDORED.search(frame.file) and "rustc/" not in frame.file


def _elixir(frame: Frame) -> bool:
    libraries = {
        "elixir",
        "stdlib",
        "kernel",
        "phoenix",
        "plug",
        "ecto",
        "ecto_sql",
        "db_connection",
        "postgrex",
        "cowboy",
    }
    return frame.module not in libraries and not frame.file.startswith("deps/")


_IN_APP = {
    PYTHON: _python,
    JAVA: _java,
    NODE: _node,
    GO: _go,
    DOTNET: _dotnet,
    RUBY: _ruby,
    PHP: _php,
    RUST: _rust,
    ELIXIR: _elixir,
}
