from django.urls import path, register_converter

from . import views

register_converter(views.StreamSize, "size")

urlpatterns = [
    path("", views.index),
    path("hello/<name>", views.hello),
    path("environ", views.environ),
    path("echo", views.echo),
    path("count", views.count),
    path("stream/<size:size>", views.stream),
    path("fail", views.fail),
]

handler404 = views.not_found
