from .mesa import MesaClassifier

__all__ = ['MesaClassifier']
