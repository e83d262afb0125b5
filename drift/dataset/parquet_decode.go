package dataset

import (
	"encoding/binary"
	"errors"
)

var errValues = errors.New("a page has fewer values than it says, or broken ones")

// hybrid reads numbers that are run-length encoded or bit-packed: levels, booleans and
// indices of dictionaries (Encodings.md of the format, RLE).
type hybrid struct {
	b     []byte
	width int // bits, at most 32
	run   uint64
	value uint32
	bit   int // of b, of the next packed value
	count uint64
}

func newHybrid(b []byte, width int) hybrid { return hybrid{b: b, width: width} }

// header reads the start of the next run.
func (h *hybrid) header() bool {
	v, n := binary.Uvarint(h.b)
	if n <= 0 {
		return false
	}
	h.b = h.b[n:]
	if v&1 == 0 {
		size := (h.width + 7) / 8
		if len(h.b) < size {
			return false
		}
		h.run, h.value = v>>1, 0
		for i := range size {
			h.value |= uint32(h.b[i]) << (8 * i)
		}
		h.b = h.b[size:]
		return true
	}
	// Groups of eight values, of width bytes each; some writers cut the last one short.
	h.bit, h.count = 0, min(v>>1, 1<<40)*8
	if h.width > 0 {
		h.count = min(h.count, uint64(len(h.b))*8/uint64(h.width))
	}
	return h.count > 0 || v>>1 == 0
}

// ones consumes n ones, if that is what a run starts with.
func (h *hybrid) ones(n int) bool {
	if h.run == 0 && h.count == 0 && !h.header() {
		return false
	}
	if h.run < uint64(n) || h.value != 1 {
		return false
	}
	h.run -= uint64(n)
	return true
}

// read fills dst.
func (h *hybrid) read(dst []uint32) error {
	for len(dst) > 0 {
		switch {
		case h.run > 0:
			n := int(min(h.run, uint64(len(dst))))
			for i := range dst[:n] {
				dst[i] = h.value
			}
			h.run -= uint64(n)
			dst = dst[n:]
		case h.count > 0:
			n := int(min(h.count, uint64(len(dst))))
			h.unpack(dst[:n])
			if h.count -= uint64(n); h.count == 0 {
				h.b = h.b[min(len(h.b), (h.bit+7)/8):]
			}
			dst = dst[n:]
		default:
			if !h.header() {
				return errValues
			}
		}
	}
	return nil
}

// unpack reads packed values, which header has checked to be there.
func (h *hybrid) unpack(dst []uint32) {
	w, bit, b := h.width, h.bit, h.b
	mask := uint64(1)<<w - 1
	for i := range dst {
		at := bit >> 3
		var v uint64
		if at+8 <= len(b) {
			v = binary.LittleEndian.Uint64(b[at:])
		} else {
			for k, x := range b[min(at, len(b)):] {
				v |= uint64(x) << (8 * k)
			}
		}
		dst[i] = uint32(v >> (bit & 7) & mask)
		bit += w
	}
	h.bit = bit
}

// delta reads integers encoded as differences (Encodings.md, DELTA_BINARY_PACKED).
type delta struct {
	b       []byte
	block   int // values of a block
	minis   int
	left    int // values not yet returned
	value   int64
	first   bool
	least   int64
	widths  []byte // of the miniblocks of this block that follow
	width   int
	bit     int // of b, of the next difference
	pending int // differences left in the miniblock
}

// newDelta returns nothing of a stream of more than limit values.
func newDelta(b []byte, limit int) (delta, error) {
	d := delta{b: b, first: true}
	block, minis, total := d.uvarint(), d.uvarint(), d.uvarint()
	v := d.uvarint()
	d.value = int64(v>>1) ^ -int64(v&1)
	if d.b == nil || block == 0 || minis == 0 || block > 1<<20 || minis > block || block%minis != 0 || total > uint64(limit) || block/minis%8 != 0 {
		return d, errValues
	}
	d.block, d.minis, d.left = int(block), int(minis), int(total)
	return d, nil
}

// uvarint leaves b nil where there is none.
func (d *delta) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// mini starts the next miniblock.
func (d *delta) mini() bool {
	d.finish()
	if len(d.widths) == 0 {
		v := d.uvarint()
		if len(d.b) < d.minis {
			return false
		}
		d.least = int64(v>>1) ^ -int64(v&1)
		d.widths, d.b = d.b[:d.minis], d.b[d.minis:]
	}
	d.width, d.widths = int(d.widths[0]), d.widths[1:]
	d.pending = d.block / d.minis
	return d.width <= 64
}

// finish passes over the miniblock, which writers may cut short at the end.
func (d *delta) finish() {
	if d.width > 0 {
		d.b = d.b[min(len(d.b), (d.bit+d.pending*d.width+7)/8):]
	}
	d.bit, d.pending, d.width = 0, 0, 0
}

func (d *delta) next() (int64, bool) {
	if d.left == 0 {
		return 0, false
	}
	d.left--
	if d.first {
		d.first = false
		return d.value, true
	}
	if d.pending == 0 && !d.mini() {
		return 0, false
	}
	d.pending--
	diff := uint64(0)
	if d.width > 0 {
		at, shift := d.bit>>3, d.bit&7
		if (d.bit+d.width+7)/8 > len(d.b) {
			return 0, false
		}
		if at+9 <= len(d.b) {
			diff = binary.LittleEndian.Uint64(d.b[at:])>>shift | uint64(d.b[at+8])<<(64-shift)
		} else {
			for k, x := range d.b[at:] {
				diff |= uint64(x) << (8 * k) >> shift
			}
		}
		if d.width < 64 {
			diff &= 1<<d.width - 1
		}
		d.bit += d.width
	}
	d.value += d.least + int64(diff)
	return d.value, true
}

// rest returns what follows the stream, without changing d.
func (d *delta) rest() ([]byte, error) {
	c := *d
	if c.left > 0 && c.first {
		c.left, c.first = c.left-1, false
	}
	for c.left > 0 {
		if !c.mini() {
			return nil, errValues
		}
		n := min(c.left, c.pending)
		c.left -= n
	}
	c.finish()
	return c.b, nil
}
