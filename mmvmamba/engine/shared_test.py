"""A test whose processes share the images and which is taken up where it stopped."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from torch.utils.data import Dataset, Sampler

from mmvmamba.registry import LOOPS

from .json_values import from_json, to_json
from .shared_results import SharedResults

__all__ = ['ShareSampler', 'SharedTestLoop']


class ShareSampler(Sampler[int]):
    """Yields indices that are set before each use, by default all of a data set.

    Args:
        dataset: The data set.
        seed: Not used; mmengine gives it to all samplers.
    """

    def __init__(self, dataset: Dataset, seed: int | None = None) -> None:
        self.indices: Sequence[int] = range(len(dataset))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


@LOOPS.register_module()
class SharedTestLoop(TestLoop):
    """mmengine's ``TestLoop`` with a file of what the metrics keep of each image.

    Every process tests its share of the images, none of them twice, and writes as it goes on; a
    test that was stopped goes on where it was, with any number of processes. The figures are
    computed from the file, a line of JSON for each image, when it is whole.

    Args:
        runner: The runner.
        dataloader: Config of the data loader; its sampler is not used.
        evaluator: Config of the metrics, or what is built of it.
        results: The file.
        origin: What results depend on; see ``SharedResults``.
        fp16: Whether the model runs in half precision.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: dict,
        evaluator: Evaluator | dict | list,
        results: str,
        origin: dict[str, str],
        fp16: bool = False,
    ) -> None:
        loader = {**dataloader, 'sampler': dict(type=ShareSampler)}
        super().__init__(runner, loader, evaluator, fp16)
        self.results, self.origin = results, origin

    def run(self) -> dict:
        """Tests what is left to do, then computes the figures of all images."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        count = len(self.dataloader.dataset)
        results = SharedResults(self.results, [str(i) for i in range(count)], self.origin)
        if results.done and is_main_process():
            self.runner.logger.info(f'{self.results}: {results.done} images are there from before')
        self.dataloader.sampler.indices = [int(item) for item in results.share]
        left = iter(results.share)
        with results:
            for index, batch in enumerate(self.dataloader):
                records = self.run_iter(index, batch)
                results.add({item: record for record, item in zip(records, left, strict=False)})
        results.put_together()
        metrics = self._evaluate(count)
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> list[dict[str, Any]]:
        """Predicts for a batch.

        Returns:
            A record for each image: its path and what each metric keeps of it.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        device = next(self.runner.model.parameters()).device.type
        with torch.autocast(device, enabled=self.fp16):
            outputs = self.runner.model.test_step(data_batch)
        records = [self._record(sample, data_batch) for sample in outputs]
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
        return records

    def _record(self, sample: Any, data_batch: Any) -> dict[str, Any]:
        self.evaluator.process([sample], data_batch)
        kept = [to_json(metric.results) for metric in self.evaluator.metrics]
        for metric in self.evaluator.metrics:
            metric.results.clear()
        return dict(image=getattr(sample, 'img_path', None), kept=kept)

    def _evaluate(self, count: int) -> dict:
        # The others have nothing, so that what mmengine collects is in order.
        if is_main_process():
            with open(self.results, encoding='utf-8') as file:
                for line in file:
                    for metric, kept in zip(
                        self.evaluator.metrics, json.loads(line)['kept'], strict=True
                    ):
                        metric.results += from_json(kept)
        return self.evaluator.evaluate(count)
