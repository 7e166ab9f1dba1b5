"""What is kept."""

from django.db import models
from django.urls import reverse


class Note(models.Model):
    title = models.CharField(max_length=100)
    text = models.TextField(max_length=2000)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-written", "-id")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("note", args=[self.pk])
