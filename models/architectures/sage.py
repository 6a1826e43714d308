"""GraphSAGE."""

from torch import Tensor, nn

from evergreen.models.graph_batch import GraphBatch, GraphNetwork, Layer


class SAGE(GraphNetwork):
    """GraphSAGE (Hamilton et al. 2017), mean of neighbours.

    A layer maps the node's own vector and the mean of its neighbours' each by a matrix of its own and adds the two. So
    what a node is and what it lives among stay apart, and nodes never seen in training are no different from others.

    In: graph (B, M, F + 2 + M); that two nodes are joined counts, the weight of the edge does not. Out: (B, F),
    F = 64 · size, three times that for whole graphs.
    Choose it where a node's own features say much, or where neighbours tend to differ.
    At size=1: planarity of all graphs of up to 7 nodes 0.932, with three layers and no dropout 0.951, in 4 s of one
    core (linear 0.925).
    """

    def layer(self, inside: int, outside: int) -> nn.Module:
        from torch_geometric.nn import SAGEConv

        return SAGEConv(inside, outside)  # type: ignore[no-any-return]

    def propagate(self, layer: Layer, x_nF: Tensor, parts: GraphBatch) -> Tensor:
        return layer(x_nF, parts.edges_2e)
