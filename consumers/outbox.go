package consumers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// outbox is the Publisher of one batch. Its memory is reused for another batch when every
// promise is kept.
type outbox struct {
	blocks    [][]kgo.Record // never moved, since kgo keeps pointers
	headers   []kgo.RecordHeader
	chunks    [][]byte // what was published points into them; all but the last in use are full
	chunk     int      // the last in use
	published int
	bytes     int // of keys and values
	several   bool
	end       context.CancelCauseFunc // of the handler's context
	committed []func()

	promised func(*kgo.Record, error) // promise, bound once
	open     sync.WaitGroup           // promises that are not kept yet
	left     atomic.Int64             // promises that are not kept yet, and 1 for send itself
	kept     func(*outbox)            // if set, called when all are kept
	failed   atomic.Pointer[error]

	mu        sync.Mutex
	refused   []refusal
	knows     func(topic string) bool // whether the client does; nil where messages are not given up
	abandon   func()                  // has the client forget them, also those that may be stored or not: their transaction is aborted; nil: not possible
	giveUp    context.CancelFunc      // gives up those of which nothing is heard; nil while none is on its way
	gaveUp    bool
	unknown   []string // topics that the client did not know at the last look
	timer     *time.Timer
	wereLeft  int64 // at the last look
	unchanged int   // looks since then
}

// What is left of a batch is looked at every so often. It is given up where the client has not
// learned its topic between two looks (it asks at once, and again for as long as a message may
// take), or where some of the batch was heard of and nothing for that many looks.
const (
	outboxLook = 200 * time.Millisecond
	patience   = 5
)

const recordBlock = 1024

var errTooMuch = fmt.Errorf("what the records of one batch become is more than %d MiB; fewer are taken next", maxBatchOutput>>20)

func newOutbox(kept func(*outbox)) *outbox {
	o := &outbox{kept: kept, chunks: make([][]byte, 1)}
	o.promised = o.promise
	return o
}

// fullChunk is how many bytes a chunk gets before another one is begun: a single chunk that grew
// with the batch would be copied again and again.
const fullChunk = 1 << 20

// maxBatchOutput bounds what several records may become together. One alone may become more.
const maxBatchOutput = 64 << 20

// What is kept of a batch's memory for the next one, each some 8 to 16 MiB: an unusually large
// batch does not hold its memory for ever.
const (
	maxKeptBytes   = 8 << 20 // of chunks
	maxKeptBlocks  = 64
	maxKeptHeaders = 1 << 18
)

// reset forgets the batch before, so that its bytes can be freed.
func (o *outbox) reset() {
	for i := 0; i < o.published; i += recordBlock {
		clear(o.blocks[i/recordBlock][:min(recordBlock, o.published-i)])
	}
	if len(o.blocks) > maxKeptBlocks {
		clear(o.blocks[maxKeptBlocks:])
		o.blocks = o.blocks[:maxKeptBlocks]
	}
	clear(o.headers)
	if cap(o.headers) > maxKeptHeaders {
		o.headers = nil
	}
	o.headers = o.headers[:0]
	kept := 0
	for i := range o.chunks {
		if kept += cap(o.chunks[i]); kept > maxKeptBytes {
			o.chunks[i] = nil
		}
		o.chunks[i] = o.chunks[i][:0]
	}
	o.chunk = 0
	clear(o.committed)
	o.committed = o.committed[:0]
	o.published, o.bytes = 0, 0
	o.failed.Store(nil)
	o.mu.Lock()
	clear(o.refused)
	o.refused, o.gaveUp, o.unknown = o.refused[:0], false, nil
	o.mu.Unlock()
}

// begin is told how many records the batch answers, and what ends its handler's context.
func (o *outbox) begin(records int, end context.CancelCauseFunc) { o.several, o.end = records > 1, end }

func (o *outbox) failure() error {
	if p := o.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// full tells whether the batch has failed by becoming too large: nothing of it will be sent.
func (o *outbox) full() bool { return o.several && o.bytes > maxBatchOutput }

// topics returns the topics that the batch has messages to.
func (o *outbox) topics() []string {
	var topics []string
	for i := range o.published {
		if t := o.blocks[i/recordBlock][i%recordBlock].Topic; !slices.Contains(topics, t) {
			topics = append(topics, t)
		}
	}
	return topics
}

// Buffer implements Publisher.
func (o *outbox) Buffer() *[]byte {
	if o.full() {
		o.chunks[o.chunk] = o.chunks[o.chunk][:0]
		return &o.chunks[o.chunk]
	}
	if len(o.chunks[o.chunk]) >= fullChunk {
		o.chunk++
	}
	if o.chunk == len(o.chunks) {
		o.chunks = append(o.chunks, nil)
	}
	return &o.chunks[o.chunk]
}

// size returns how many bytes the batch has in its chunks.
func (o *outbox) size() int {
	n := 0
	for _, c := range o.chunks {
		n += len(c)
	}
	return n
}

// OnCommit implements Publisher.
func (o *outbox) OnCommit(fn func()) { o.committed = append(o.committed, fn) }

// Publish implements Publisher.
func (o *outbox) Publish(m schemas.Message) {
	o.bytes += len(m.Key) + len(m.Value)
	if o.full() {
		if o.failed.CompareAndSwap(nil, &errTooMuch) {
			o.end(errTooMuch)
		}
		return
	}
	n := o.published
	if n/recordBlock == len(o.blocks) {
		o.blocks = append(o.blocks, make([]kgo.Record, recordBlock))
	}
	r := &o.blocks[n/recordBlock][n%recordBlock]
	o.published++
	from := len(o.headers) // growing moves the headers, but not those already published
	for _, h := range m.Headers {
		o.headers = append(o.headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	*r = kgo.Record{
		Topic: m.Topic, Partition: m.Partition, Key: m.Key, Value: m.Value,
		Headers: o.headers[from:len(o.headers):len(o.headers)],
	}
}

// send produces what was published. Only now does the broker's clock start to run: a model
// may take longer over a batch than the transaction timeout. Messages of which nothing is heard
// while others are acknowledged are given up.
func (o *outbox) send(ctx context.Context, produce func(context.Context, *kgo.Record, func(*kgo.Record, error))) {
	ctx, giveUp := context.WithCancel(ctx)
	o.mu.Lock()
	o.giveUp, o.wereLeft, o.unchanged = giveUp, -1, 0
	if o.timer == nil {
		o.timer = time.AfterFunc(outboxLook, o.look)
	} else {
		o.timer.Reset(outboxLook)
	}
	o.mu.Unlock()
	o.open.Add(o.published)
	o.left.Store(int64(o.published) + 1)
	for i := range o.published {
		produce(ctx, &o.blocks[i/recordBlock][i%recordBlock], o.promised)
	}
	o.keep()
}

func (o *outbox) promise(r *kgo.Record, err error) {
	if err != nil {
		failure := fmt.Errorf("produce %d bytes to topic %s: %w", len(r.Value), r.Topic, lacking(err, onTopics("Write", r.Topic))) // err itself would escape at each call
		o.failed.CompareAndSwap(nil, &failure)
		o.mu.Lock()
		o.refused = append(o.refused, refusal{r, failure})
		o.mu.Unlock()
	}
	o.keep()
	o.open.Done() // last: whoever waits for it may send the next batch
}

func (o *outbox) keep() {
	if o.left.Add(-1) > 0 {
		return
	}
	o.mu.Lock()
	o.timer.Stop()
	o.giveUp()
	o.giveUp = nil
	o.mu.Unlock()
	if o.kept != nil {
		o.kept(o)
	}
}

// look gives up what is left of a batch where nothing is to be expected.
func (o *outbox) look() {
	if o.hopeless() {
		o.abandon()
	}
}

// hopeless takes note of what was heard of, and tells whether what is left is to be abandoned: it was
// given up before, and that did not help.
func (o *outbox) hopeless() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.giveUp == nil || o.knows == nil { // all is heard of, or waited for
		return false
	}
	if o.gaveUp {
		if o.unchanged++; o.unchanged < 2*patience {
			o.timer.Reset(outboxLook)
			return false
		}
		return o.abandon != nil
	}
	unknown := slices.DeleteFunc(o.topics(), o.knows)
	still := slices.DeleteFunc(slices.Clone(unknown), func(topic string) bool { return !slices.Contains(o.unknown, topic) })
	o.unknown = unknown
	left := o.left.Load()
	if o.unchanged++; left != o.wereLeft {
		o.wereLeft, o.unchanged = left, 0
	}
	if len(still) > 0 || o.unchanged >= patience && int(left) < o.published {
		o.unknown, o.gaveUp = still, true
		o.giveUp()
	}
	o.timer.Reset(outboxLook)
	return false
}

// refusals returns the messages that could not be produced, until the next reset, and what is wrong
// with the destination of each.
func (o *outbox) refusals() (refused []refusal, wrong func(r refusal) fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	unknown, gaveUp := o.unknown, o.gaveUp
	return o.refused, func(r refusal) fault {
		f := faultOf(r.err)
		if f == givenUp && gaveUp && slices.Contains(unknown, r.rec.Topic) {
			return noTopic
		}
		return f
	}
}

// commit tells that what was published can be read.
func (o *outbox) commit() {
	for _, fn := range o.committed {
		fn()
	}
}
