"""Settings, from the environment where a deployment differs."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

BASE_DIR = Path(__file__).parent.parent
DATA = Path(os.environ.get("SITE_FOLDER", BASE_DIR / "data"))
DATA.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")


def kept_secret(path: Path) -> str:
    """Made once and kept: with a new one at each start, a reload would end everybody's session."""
    if not path.exists():
        mine = path.with_suffix(f".{os.getpid()}")
        mine.touch(mode=0o600)
        mine.write_text(secrets.token_urlsafe(50))
        with suppress(FileExistsError):  # another process was first; its secret counts
            path.hardlink_to(mine)
        mine.unlink()
    return path.read_text()


SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or kept_secret(DATA / "secret")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "notes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "site.sqlite3",
        "CONN_MAX_AGE": 0,  # under ASGI a thread serves one request: what it kept open would be left behind
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL",  # workers read while another writes
            "transaction_mode": "IMMEDIATE",  # writers wait in turn, instead of failing in the middle
            "timeout": 10,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATIC_ROOT = DATA / "static"  # `manage.py collectstatic`, then `prefork serve … --static /static=data/static`
TIME_ZONE = "UTC"  # Django makes it the time zone of the process, and so of the log
USE_TZ = True
