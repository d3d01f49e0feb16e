"""Copy an archive of `docker save` with an index of its images' full names in front.

kind reads the names in an archive from the first index that it meets; the one that Docker writes comes last and leaves
out the registry of an image that it would take from its own.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile


def full_name(repository: str) -> str:
    """The name with its registry, as containerd writes it."""
    return repository if "." in repository.split("/")[0] else f"docker.io/{repository}"


def index(manifest: list[dict[str, list[str]]]) -> bytes:
    """Repository → tag → layer; kind asks for no layer."""
    names: dict[str, dict[str, str]] = {}
    for image in manifest:
        for reference in image["RepoTags"]:
            repository, tag = reference.rsplit(":", 1)
            names.setdefault(full_name(repository), {})[tag] = ""
    return json.dumps(names).encode()


def main(source: str, target: str) -> None:
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        manifest = old.extractfile("manifest.json")
        assert manifest is not None
        content = index(json.load(manifest))
        header = tarfile.TarInfo("repositories")
        header.size = len(content)
        new.addfile(header, io.BytesIO(content))
        for member in old:
            if member.name != header.name:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
