from .mesa import MesaClassifier, MesaEMAHook

__all__ = ['MesaClassifier', 'MesaEMAHook']
