"""The service: an API to hand films in and fetch results, and a page to read on. FastAPI over `hilum.clinic`.

Research use only; not a medical device.
"""
