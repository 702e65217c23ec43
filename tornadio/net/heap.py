"""The memory that large messages are read into and built in: blocks of the C library's heap, used again and again.

glibc's ``malloc`` maps each block of 128 KiB or more anew and unmaps it when it is freed, and it gives the end of its
heap back to the system whenever as much of that is free. The next block then costs a page fault for each 4 KiB: half of
an echo of 100 kB. Both limits follow the program: freeing a mapped block raises the first one to the block's size, and
the second one to twice that (mallopt(3), ``M_MMAP_THRESHOLD``). A server that has received one large message has them
raised; :func:`keep_freed_memory` raises them from the beginning. Other allocators notice nothing.
"""

from typing import Final

# Freed blocks up to this size stay in the heap, of whose end twice as much may be free: the buffers of as many messages
# of 100 kB as one iteration of the event loop handles, when fifty connections send one at a time.
_BLOCK_SIZE: Final = 4 << 20


def keep_freed_memory() -> None:
    """Have the C library keep some MiB of freed memory for the next large messages, instead of mapping it anew."""
    bytes(_BLOCK_SIZE)  # mapped, unmapped, and in between never written to: zeros are what new memory holds
