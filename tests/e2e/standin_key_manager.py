# SPDX-License-Identifier: LGPL-2.1-or-later
"""Barbican's stand-in, which nova-compute loads: it keeps secrets in files of the folder NOVASNAP_SECRETS, one each, and
injects no faults. The real Barbican would only be one more service to start, and a test could not read its secrets."""
import os
import uuid

from castellan.common import exception
from castellan.common.objects import passphrase
from castellan.key_manager import key_manager


class FileKeyManager(key_manager.KeyManager):
    def __init__(self, configuration):
        super().__init__(configuration)
        self.folder = os.environ["NOVASNAP_SECRETS"]

    def _path(self, name):
        return os.path.join(self.folder, name)

    def store(self, context, managed_object, expiration=None):
        name = str(uuid.uuid4())
        with open(self._path(name), "wb") as file:
            file.write(managed_object.get_encoded())
        return name

    def get(self, context, managed_object_id, metadata_only=False):
        try:
            with open(self._path(managed_object_id), "rb") as file:
                return passphrase.Passphrase(file.read(), id=managed_object_id)
        except FileNotFoundError as error:
            raise exception.ManagedObjectNotFoundError(uuid=managed_object_id) from error

    def delete(self, context, managed_object_id, force=False):
        os.remove(self._path(managed_object_id))

    # Nova calls none of these for a TPM.

    def create_key(self, *_args, **_more):
        raise NotImplementedError

    create_key_pair = copy = list = add_consumer = remove_consumer = create_key
