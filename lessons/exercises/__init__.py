"""The exercises: one file a lesson, written by the reader; checks/ decides what is right."""
