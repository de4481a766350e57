"""Steps one after the other (to be written)."""


class Pipeline:
    def __init__(self, steps, schema):
        self.steps, self.schema = steps, schema
