"""The small process behind `yard up`: starts the services, starts them again when they die, stops them.

It never imports gRPC and keeps nothing but processes; all truth is in the services.
"""
