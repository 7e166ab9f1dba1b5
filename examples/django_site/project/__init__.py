"""A Django project that runs as ASGI and as WSGI app, in as many workers as there are cores.

cd examples/django_site
python manage.py migrate
prefork serve project.asgi:application      # async views run on the worker's loop
prefork serve project.wsgi:application      # each request has a thread
"""
