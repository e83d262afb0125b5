package flights

// window holds the landings of the last minutes, their number and the sum of their
// delays. Landings are added in order of time; sums are of integers, so that they do not
// depend on the order.
type window struct {
	minutes int32
	n       int32
	sum     int32
	first   uint32    // of the oldest landing held, counted from the beginning
	held    []landing // a ring; its length is a power of two
}

type landing struct{ minute, delay int32 }

func newWindow(minutes int32, size int) window {
	return window{minutes: minutes, held: make([]landing, size)}
}

// add takes a landing in. The ring doubles when it is full, which happens a few times in
// a replay.
func (w *window) add(minute, delay int32) {
	w.expire(minute)
	size := uint32(len(w.held))
	if uint32(w.n) == size {
		grown := make([]landing, 2*size)
		for i := range size {
			grown[(w.first+i)&(2*size-1)] = w.held[(w.first+i)&(size-1)]
		}
		w.held, size = grown, 2*size
	}
	w.held[(w.first+uint32(w.n))&(size-1)] = landing{minute, delay}
	w.n++
	w.sum += delay
}

// expire drops the landings at or before now - minutes.
func (w *window) expire(now int32) {
	mask := uint32(len(w.held) - 1)
	for w.n > 0 && w.held[w.first&mask].minute <= now-w.minutes {
		w.sum -= w.held[w.first&mask].delay
		w.first++
		w.n--
	}
}

// mean returns the mean delay, 0 without landings.
func (w *window) mean() float64 {
	if w.n == 0 {
		return 0
	}
	return float64(w.sum) / float64(w.n)
}

// shrunk8 returns the mean delay in eighths of a minute, drawn towards the network's. The
// conversion of the product forbids a fused multiply-add, which would round differently
// on other machines.
func (w *window) shrunk8(network float64) int32 {
	return round8((float64(w.sum) + float64(shrink*network)) / float64(w.n+shrink))
}
