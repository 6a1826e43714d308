from evergreen.api import Model as Model
from evergreen.api import Project as Project
from evergreen.api import load as load
from evergreen.client import AsyncClient as AsyncClient
from evergreen.client import Client as Client
from evergreen.estimators import Classifier as Classifier
from evergreen.estimators import Regressor as Regressor
