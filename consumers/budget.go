package consumers

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchBudget is a hook of a client that bounds what its fetches become in memory: the client
// decompresses a fetch as soon as it arrives. A fetch asks for as many bytes as are likely to
// become fetchedBytes, and never for more than most. The likely ratio is the worst of late: that of
// a batch counts at once where it is greater, and else takes a share of the difference away. A
// broker returns at least one batch, however large.
type fetchBudget struct {
	most float64
	cl   atomic.Pointer[kgo.Client]

	mu    sync.Mutex
	ratio float64 // worst of late; begins at firstRatio, to be careful with what was never read
	seen  float64 // worst of late; begins at usualRatio
}

const (
	fetchedBytes = 8 << 20
	firstRatio   = 32
	usualRatio   = 4
	// forgotten is the share of the difference to a smaller ratio that is taken away.
	forgotten = 1.0 / 16
	// tellingBytes is the least size of a batch whose ratio counts.
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

// likely returns how many times larger the next batch may become, by the worst of late.
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

// appetite says how many records a lane polls next: as many as have BatchBytes and become
// answerBytes, at most, if they are like the largest of late. A session begins with few. After a
// batch that failed, perhaps for its size, at most half as many are polled, and after each that
// did not fail twice as many again.
type appetite struct {
	limit   int     // records of a batch, at most
	most    int     // records that are polled at most, after failures and at the beginning
	last    int     // records of the last batch
	in, out float64 // bytes of a record, and of what it becomes
}

const (
	// BatchBytes is about how many bytes one request batch has: a lane holds a multiple of it.
	BatchBytes = 2 << 20
	// answerBytes is about how many bytes it may become: a small request can have a large answer.
	answerBytes = 16 << 20
	// firstRecords are enough to learn from.
	firstRecords = 64
	// unlearned is the share of the difference to a smaller size that is taken away.
	unlearned = 1.0 / 8
)

func newAppetite(limit int) *appetite { return &appetite{limit: limit, most: limit, last: limit} }

// begin is told of a new session.
func (a *appetite) begin() { a.most = min(a.most, firstRecords) }

// next returns how many records to poll, at least one.
func (a *appetite) next() int {
	n := float64(min(a.limit, a.most))
	if a.in > 0 {
		n = min(n, BatchBytes/a.in)
	}
	if a.out > 0 {
		n = min(n, answerBytes/a.out)
	}
	return max(1, int(n))
}

// handled is told how many bytes a batch had, and how many it has become so far.
func (a *appetite) handled(records, in, out int) {
	a.last = records
	a.in = learned(a.in, float64(in)/float64(records))
	a.out = learned(a.out, float64(out)/float64(records))
}

func learned(worst, now float64) float64 { return max(now, worst-(worst-now)*unlearned) }

func (a *appetite) succeeded() { a.most = min(a.limit, 2*a.most) }

func (a *appetite) failed() { a.most = max(1, min(a.most, a.last)/2) }
