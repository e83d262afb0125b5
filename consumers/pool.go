package consumers

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchPool keeps the memory of fetched batches for the next ones, until recycle: what a
// lane decompresses would else be most of its garbage. It is safe for concurrent use.
//
// Memory that is not given back, such as that of records which were fetched and never polled,
// is the garbage collector's.
type fetchPool struct {
	mu      sync.Mutex
	bytes   shelf[byte]
	records shelf[kgo.Record]
}

// What is kept at the most for the next batches: those of one fetch.
const (
	maxPooledBytes   = 16 << 20
	maxPooledRecords = 1 << 16
)

// usualRatio is what requests are compressed by, about; the client grows what was too small.
const usualRatio = 4

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *fetchPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes.get(min(usualRatio*len(compressed), maxPooledBytes))
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

// shelf holds free slices by the power of two in their capacity. One that is lent has at
// most four times what is needed: the client zeroes all of it when it comes back.
type shelf[T any] struct {
	classes [bits.UintSize][][]T
	held    int // capacity of all
}

func (s *shelf[T]) get(n int) []T {
	class := bits.Len(uint(n)) // its slices have more than n
	for c := class; c <= class+1; c++ {
		if free := s.classes[c]; len(free) > 0 {
			last := len(free) - 1
			lent := free[last]
			free[last] = nil
			s.classes[c] = free[:last]
			s.held -= cap(lent)
			return lent
		}
	}
	return make([]T, 1<<class)
}

func (s *shelf[T]) put(slice []T, most int) {
	if s.held+cap(slice) > most || cap(slice) == 0 {
		return
	}
	class := bits.Len(uint(cap(slice))) - 1
	s.classes[class] = append(s.classes[class], slice)
	s.held += cap(slice)
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
