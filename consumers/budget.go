package consumers

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchBudget is a hook of a client that makes its fetches smaller where what they bring is
// many times larger once it is decompressed, which the client does as soon as it arrives:
// a fetch asks for what is likely to become fetchedBytes, and for most at most. It
// believes the worst of the batches lately, and of a topic that it has not read yet that it
// is compressed firstRatio times. A broker gives one batch, however large, in any case.
type fetchBudget struct {
	most float64
	cl   atomic.Pointer[kgo.Client]

	mu    sync.Mutex
	ratio float64 // that is believed
	seen  float64 // the same, of what has been read alone
}

const (
	fetchedBytes = 8 << 20
	firstRatio   = 32
	usualRatio   = 4
	// forgotten is the share of a ratio that the next, lower one takes away.
	forgotten = 1.0 / 16
	// tellingBytes is what a batch must have for its ratio to say something.
	tellingBytes = 1 << 10
)

func newFetchBudget(most float64) *fetchBudget {
	return &fetchBudget{most: most, ratio: firstRatio, seen: usualRatio}
}

// ask returns how many bytes a fetch asks for.
func (b *fetchBudget) ask() int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int32(min(b.most, fetchedBytes/b.ratio))
}

// likely returns by how much the next batch is compressed, by the worst lately.
func (b *fetchBudget) likely() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// OnNewClient implements kgo.HookNewClient.
func (b *fetchBudget) OnNewClient(cl *kgo.Client) { b.cl.Store(cl) }

// OnFetchBatchRead implements kgo.HookFetchBatchRead.
func (b *fetchBudget) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.UncompressedBytes < tellingBytes || m.CompressedBytes <= 0 {
		return
	}
	b.read(float64(m.UncompressedBytes) / float64(m.CompressedBytes))
	if cl := b.cl.Load(); cl != nil {
		n := b.ask()
		cl.UpdateFetchMaxBytes(n, n)
	}
}

// read takes the ratio of a batch.
func (b *fetchBudget) read(ratio float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ratio = max(1, ratio, b.ratio-(b.ratio-ratio)*forgotten)
	b.seen = max(1, ratio, b.seen-(b.seen-ratio)*forgotten)
}
