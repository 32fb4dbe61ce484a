import errno
import gc
import hashlib
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from toy_maskcut import make_images

from projects.crate.datasets.image_list import ImageList, list_images, quote, spread_evenly, unquote
from projects.crate.errors import UserError


def test_names_are_those_given(tmp_path):
    names = ['b/1.jpg', 'a/ä.jpg', 'a/with space.png', os.fsdecode(b'not utf-8 \xff.png'), 'b/1.jpg']
    images = ImageList(names, tmp_path, tmp_path)
    assert list(images) == names
    assert len(images) == 5
    assert images.sha256 == hashlib.sha256(b''.join(os.fsencode(f'{name}\n') for name in names)).hexdigest()
    assert list(tmp_path.iterdir()) == []


def test_loading_processes_share_the_names(tmp_path):
    names = ['a.jpg', 'b.jpg', 'c.jpg']
    loader = DataLoader(ImageList(names, tmp_path, tmp_path), None, num_workers=2, multiprocessing_context='fork')
    assert list(loader) == names


def test_memory_does_not_grow_with_the_number_of_names(tmp_path):
    peaks = []
    for number in (1_000, 20_000):
        gc.collect()
        tracemalloc.start()
        images = ImageList((f'train/n{index:08d}/{index:08d}.JPEG' for index in range(number)), tmp_path, tmp_path)
        assert images[number - 1] == f'train/n{number - 1:08d}/{number - 1:08d}.JPEG'
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000  # bytes; the names are 600,000


def test_a_folder_is_sorted_as_its_paths(tmp_path):
    """Where folders and files share the beginnings of their names, and through links."""
    names = ['a.jpg', 'a/1.PNG', 'a0.jpg', 'a-b/2.JPEG', 'a/b/3.webp', 'z/4.tif', 'note.txt', 'a/.jpg/5.bmp']
    for name in names:
        (tmp_path / 'set' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'set' / name).write_bytes(b'')
    (tmp_path / 'set' / 'linked').symlink_to(tmp_path / 'set' / 'z')
    found = list(list_images(tmp_path / 'set', tmp_path))
    assert found == sorted([*(name for name in names if name != 'note.txt'), 'linked/4.tif'])


def test_a_list_keeps_its_order(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'b.jpg\r\n\n a.jpg\tunreadable\n\xff.jpg')
    images = list_images(tmp_path / 'list.txt', tmp_path, root=tmp_path)
    assert list(images) == ['b.jpg', ' a.jpg', os.fsdecode(b'\xff.jpg')]
    assert images.root == tmp_path


def test_nothing_to_do_is_an_error(tmp_path):
    (tmp_path / 'list.txt').write_text('\n\n')
    for source in (tmp_path, tmp_path / 'list.txt'):
        with pytest.raises(UserError, match=f'no images in {source}'):
            list_images(source, tmp_path)


def test_an_image_is_no_list_of_images(tmp_path):
    image = tmp_path / 'cat.JPG'
    image.write_bytes(b'\xff\xd8\xff\xe0\x00\x10')
    with pytest.raises(UserError, match='cat.JPG is an image: give its folder'):
        list_images(image, tmp_path)


@given(st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), min_size=1) | st.binary(min_size=1))
def test_lists_hold_any_name(name):
    if isinstance(name, bytes):
        name = os.fsdecode(name.replace(b'\0', b'0'))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'list.txt')
        path.write_bytes(os.fsencode(f'{quote(name)}\treason\r\n'))
        assert list(list_images(path, Path(folder))) == [name]


def test_ordinary_names_are_not_quoted():
    for name in ('a/b.jpg', ' a "b".jpg', '#a.jpg', 'a\\n.jpg', 'ü.jpg', os.fsdecode(b'\xff.jpg')):
        assert unquote(quote(name)) == quote(name) == name
    assert unquote('"by hand".jpg') == '"by hand".jpg'


def test_a_folder_that_cannot_be_searched_is_left_out(tmp_path, monkeypatch):
    make_images(tmp_path / 'images')
    scandir = os.scandir

    def refuse(path):
        if Path(path) == tmp_path / 'images' / 'a':
            raise PermissionError(errno.EACCES, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    images = list_images(tmp_path / 'images', tmp_path)
    assert images.left_out == ['a/ (Permission denied)']
    assert {Path(name).parent.name for name in images} == {'', 'b'}


def test_images_are_spread_evenly():
    assert spread_evenly(4, None) == spread_evenly(4, 9) == [0, 1, 2, 3]
    assert spread_evenly(10, 5) == [0, 2, 4, 6, 8]
    for count in range(1, 30):
        found = spread_evenly(29, count)
        assert len({*found}) == count and max(np.diff([*found, 29])) - min(np.diff([*found, 29])) <= 1
