"""The same service inside label-studio-ml's own harness, for those who start all their backends with it.

model      `SamBackend`: the class that the harness asks
flask_app  our service in the harness's Flask
manager    what label-studio-ml 1.0.9 keeps its models in
"""
