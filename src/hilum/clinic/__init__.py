"""The clinic: films in from an archive, a modality or a page, results out, and nothing let in or lost on the way.

Research use only; not a medical device.
"""
