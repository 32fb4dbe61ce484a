"""The sample set: generated images of objects with known masks; seeded, no download.

It needs no own data set class. mmpretrain's ``ImageNet``, mmseg's ``BaseSegDataset`` and mmdet's ``CocoDataset``
read it, with the metainfo in :mod:`.coats`. (mmseg's ``PascalVOCDataset`` reads it too, but accepts only VOC's names of
classes.) ``tools/make_sample_set.py`` is the command.
"""
