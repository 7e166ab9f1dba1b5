"""Where requests go."""

from django.contrib import admin
from django.urls import path
from notes import views

urlpatterns = [
    path("", views.index, name="index"),
    path("notes/<int:id>/", views.note, name="note"),
    path("notes.csv", views.export, name="export"),
    path("ticks/<int:count>/", views.ticks, name="ticks"),
    path("admin/", admin.site.urls),
]
