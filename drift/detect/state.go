package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// ErrState is returned for bytes that are not a saved state: cut, corrupt, of another kind or
// version, or with figures that no detector can have.
var ErrState = errors.New("not the state of a detector")

// stateVersion is the first byte of a saved state, before the kind's number, the parameters
// and figures in little-endian order, and a CRC-32 of all that.
const stateVersion = 1

// kindNumbers are part of the format: never change one.
var kindNumbers = map[string]byte{
	KindADWIN: 1, KindPageHinkley: 2, KindDDM: 3, KindEDDM: 4, KindKSWIN: 5, KindCUSUM: 6,
	KindEDetector: 7,
}

// Restore returns the detector that was saved in state, of whatever kind.
func Restore(state []byte) (Detector, error) {
	if len(state) < 2 {
		return nil, fmt.Errorf("%w: %d bytes", ErrState, len(state))
	}
	var d Detector
	switch state[1] {
	case kindNumbers[KindADWIN]:
		d = new(ADWIN)
	case kindNumbers[KindPageHinkley]:
		d = new(PageHinkley)
	case kindNumbers[KindDDM]:
		d = new(DDM)
	case kindNumbers[KindEDDM]:
		d = new(EDDM)
	case kindNumbers[KindKSWIN]:
		d = new(KSWIN)
	case kindNumbers[KindCUSUM]:
		d = new(CUSUM)
	case kindNumbers[KindEDetector]:
		d = new(EDetector)
	default:
		return nil, fmt.Errorf("%w: kind %d is unknown", ErrState, state[1])
	}
	if err := d.UnmarshalBinary(state); err != nil {
		return nil, err
	}
	return d, nil
}

// writer appends a state.
type writer struct {
	b     []byte
	start int
}

func newWriter(b []byte, kind string) *writer {
	return &writer{b: append(b, stateVersion, kindNumbers[kind]), start: len(b)}
}

func (w *writer) u32(v uint32)  { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)  { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) int(v int)     { w.u64(uint64(v)) }
func (w *writer) i64(v int64)   { w.u64(uint64(v)) }
func (w *writer) f64(v float64) { w.u64(math.Float64bits(v)) }

func (w *writer) base(b *base) {
	var flags byte
	if b.drift {
		flags |= 1
	}
	if b.warning {
		flags |= 2
	}
	w.b = append(w.b, flags)
	w.i64(b.seen)
	w.i64(b.detections)
}

func (w *writer) moments(m *moments) {
	w.i64(m.n)
	w.f64(m.mean)
	w.f64(m.s)
}

func (w *writer) close() []byte {
	return binary.LittleEndian.AppendUint32(w.b, crc32.ChecksumIEEE(w.b[w.start:]))
}

// reader takes a state apart. The first thing wrong is kept in err; what is read then is 0.
type reader struct {
	b   []byte
	err error
}

func newReader(b []byte, kind string) *reader {
	r := &reader{}
	switch n := len(b) - 4; {
	case n < 2:
		r.fail("%d bytes", len(b))
	case b[0] != stateVersion:
		r.fail("version %d, this is version %d", b[0], stateVersion)
	case b[1] != kindNumbers[kind]:
		r.fail("kind %d, %s is %d", b[1], kind, kindNumbers[kind])
	case binary.LittleEndian.Uint32(b[n:]) != crc32.ChecksumIEEE(b[:n]):
		r.fail("the checksum does not match")
	default:
		r.b = b[2:n]
	}
	return r
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrState}, args...)...)
	}
	r.b = nil
}

func (r *reader) require(ok bool, what string) {
	if !ok {
		r.fail("impossible %s", what)
	}
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail("it ends early")
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u32() uint32  { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64  { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) int() int     { return int(r.u64()) }
func (r *reader) f64() float64 { return math.Float64frombits(r.u64()) }

// count reads a number of values, which stay exact as float64.
func (r *reader) count() int64 {
	v := int64(r.u64())
	r.require(v >= 0 && v <= 1<<53, "count of values")
	return v
}

// magnitude reads a figure that is at most limit.
func (r *reader) magnitude(limit float64, what string) float64 {
	v := r.f64()
	r.require(math.Abs(v) <= limit, what)
	return v
}

func (r *reader) base() base {
	flags := r.take(1)[0]
	r.require(flags < 4, "flags")
	b := base{drift: flags&1 != 0, warning: flags&2 != 0, seen: r.count(), detections: r.count()}
	r.require(b.detections <= b.seen && (!b.drift || b.detections > 0), "count of detections")
	return b
}

// moments reads those of n values of at most limit.
func (r *reader) moments(limit float64) moments {
	m := moments{n: r.count(), mean: r.magnitude(limit, "mean"), s: r.f64()}
	r.require(m.s >= 0 && m.s <= math.Max(1, 4*limit*limit*float64(m.n)), "variance")
	r.require(m.n > 0 || m == moments{}, "mean of nothing")
	return m
}

func (r *reader) close() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}

// parameters fails on a configuration that its constructor would refuse.
func (r *reader) parameters(err error) {
	if r.err == nil && err != nil {
		r.fail("%v", err)
	}
}
