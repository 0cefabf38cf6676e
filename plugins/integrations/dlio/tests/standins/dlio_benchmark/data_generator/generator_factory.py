"""DLIO's factory of generators."""


class GeneratorFactory:
    @staticmethod
    def get_generator(type):
        return ("dlio's own", type)
