"""How roles talk: `docs/design/protocol.md` is the specification, these modules are its Python half.

messages   the fixed header and the kinds            pure
refused    the message that every version reads     pure
arrays     the payload: arrays behind an offset table pure
delivery   credit, acknowledgement, de-duplication   pure
weights    newest-only transfer of policy versions   pure
endpoints  names of sockets for ipc and tcp          pure
keys, mint CURVE key files
sockets    the only module that imports zmq
"""
