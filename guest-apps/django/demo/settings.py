# Nothing here is signed. A project with sessions or CSRF tokens needs a secret of its own.
SECRET_KEY = "demo"
DEBUG = False
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = ["demo"]
MIDDLEWARE = ["demo.views.plain_method_not_allowed"]
ROOT_URLCONF = "demo.urls"
WSGI_APPLICATION = "demo.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
    }
]

# As long-lived as the instance: a file in a granted directory outlives it.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# Without this, and without DEBUG, Django tells the traceback of an error to nobody.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "ERROR"}},
}
