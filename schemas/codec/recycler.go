package codec

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow/go/v15/arrow/memory"
)

// recycler is an allocator that keeps what is freed for the next batch: fresh memory must
// be cleared and costs page faults, which is more than filling it costs. Batches may be
// released by any goroutine.
type recycler struct {
	alloc memory.Allocator

	mu     sync.Mutex
	free   [maxClass + 1][][]byte // by the logarithm of their size
	held   int                    // bytes in free
	closed bool
}

// What a recycler keeps. Larger slabs are of batches that are out of the ordinary.
const (
	minClass = 9  // 512 bytes
	maxClass = 23 // 8 MiB
	maxHeld  = 32 << 20
)

// Allocate implements memory.Allocator. The slab may be longer than asked for, and holds
// anything.
func (r *recycler) Allocate(size int) []byte {
	class := max(minClass, bits.Len(uint(max(1, size)-1)))
	if class > maxClass {
		return r.alloc.Allocate(size)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free[class]); n > 0 {
		slab := r.free[class][n-1]
		r.free[class] = r.free[class][:n-1]
		r.held -= len(slab)
		return slab
	}
	return r.alloc.Allocate(1 << class)
}

// Reallocate implements memory.Allocator.
func (r *recycler) Reallocate(size int, b []byte) []byte {
	if size <= len(b) {
		return b
	}
	out := r.Allocate(size)
	copy(out, b)
	r.Free(b)
	return out
}

// Free implements memory.Allocator.
func (r *recycler) Free(b []byte) {
	if len(b) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	class := bits.Len(uint(len(b) - 1))
	if r.closed || class > maxClass || len(b) != 1<<class || r.held+len(b) > maxHeld {
		r.alloc.Free(b)
		return
	}
	r.held += len(b)
	r.free[class] = append(r.free[class], b)
}

// close gives back what is kept, and from then on what is freed.
func (r *recycler) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for class := range r.free {
		for _, b := range r.free[class] {
			r.alloc.Free(b)
		}
		r.free[class] = nil
	}
}

// grow returns a slab of at least size bytes that starts with the used ones of slab, which
// is slab itself where it is long enough.
func (r *recycler) grow(slab []byte, used, size int) []byte {
	if size <= len(slab) {
		return slab
	}
	out := r.Allocate(max(size, 2*len(slab)))
	copy(out, slab[:used])
	r.Free(slab)
	return out
}
