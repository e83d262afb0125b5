package consumers

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchPool lends memory for fetched batches, and takes it back from recycle: what a lane
// decompresses would otherwise be most of its garbage. It is safe for concurrent use.
//
// Memory that is not given back, such as that of records which were fetched and never polled,
// is left to the garbage collector.
type fetchPool struct {
	ratio func() float64 // how many times larger a batch is likely to become

	mu      sync.Mutex
	bytes   shelf[byte]
	records shelf[kgo.Record]
}

// What is kept at the most for the next batches: those of one fetch.
const (
	maxPooledBytes   = 8 << 20
	maxPooledRecords = 1 << 16
)

// spareBytes are what some decompressors want to see free at the end.
const spareBytes = 1 << 10

// GetDecompressBytes implements kgo.PoolDecompressBytes. The client grows what was too small.
func (p *fetchPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	want := min(spareBytes+int(p.ratio()*float64(len(compressed))), maxPooledBytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes.get(want)
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) PutDecompressBytes(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes.put(b, maxPooledBytes)
}

// GetRecords implements kgo.PoolRecords.
func (p *fetchPool) GetRecords(n int) []kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.records.get(n)
}

// PutRecords implements kgo.PoolRecords.
func (p *fetchPool) PutRecords(r []kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records.put(r, maxPooledRecords)
}

// shelf holds free slices. One that is lent has at most twice what is needed: the client
// zeroes all of it when it comes back.
type shelf[T any] struct {
	free [][]T // the latest last
	held int   // capacity of all free slices
}

// maxShelf bounds how many free slices there are, which get looks through.
const maxShelf = 64

func (s *shelf[T]) get(n int) []T {
	best := -1
	for i, free := range s.free {
		if c := cap(free); c >= n && c <= 2*n && (best < 0 || c < cap(s.free[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]T, n)
	}
	lent := s.free[best]
	s.remove(best)
	return lent
}

func (s *shelf[T]) remove(i int) {
	s.held -= cap(s.free[i])
	last := len(s.free) - 1
	copy(s.free[i:], s.free[i+1:])
	s.free[last] = nil
	s.free = s.free[:last]
}

// put takes a slice back. Where too much is held it lets go of what has been there longest.
func (s *shelf[T]) put(slice []T, most int) {
	if cap(slice) == 0 || cap(slice) > most {
		return
	}
	s.free = append(s.free, slice)
	s.held += cap(slice)
	for s.held > most || len(s.free) > maxShelf {
		s.remove(0)
	}
}

// recycle gives the memory of polled records back to their pool. Neither they nor what was
// copied of their keys, values and headers may be used afterwards.
func recycle(fetches kgo.Fetches) {
	for i := range fetches {
		for j := range fetches[i].Topics {
			for k := range fetches[i].Topics[j].Partitions {
				for _, r := range fetches[i].Topics[j].Partitions[k].Records {
					r.Recycle()
				}
			}
		}
	}
}
