"""Our service behind label-studio-ml's harness, 1.0.9 and 2.x.

The map, from the door inwards:

    flask_app  the harness's application, with what every request passes first
    model      the class that the harness calls
    manager    the manager that replaces 1.0.9's
"""
