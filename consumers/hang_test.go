package consumers_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hangingBroker passes connections on to a broker. Once it hangs for a client, a connection
// on which that client asks one of the chosen questions goes silent, without being closed:
// what a broker looks like that is frozen, or behind a network that drops packets.
type hangingBroker struct {
	ln     net.Listener
	target string
	served sync.WaitGroup

	mu     sync.Mutex
	client string
	keys   []kmsg.Key // of questions; nil: all
	hangs  bool
	hung   chan struct{} // closed when the first question hangs
	silent []net.Conn
	asked  map[kmsg.Key]int // how often the client has asked since it hangs
	conns  []net.Conn
	closed bool
}

// newHangingBroker starts an embedded broker of the test's own behind a hangingBroker.
func newHangingBroker(t *testing.T) *hangingBroker {
	t.Helper()
	if cluster != nil {
		t.Skip("nodes of Apache Kafka advertise themselves, and not a proxy")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &hangingBroker{ln: ln, hung: make(chan struct{}), asked: map[kmsg.Key]int{}}
	addr, stop, err := serve(t.TempDir(), "127.0.0.1:0", ln.Addr().String())
	require.NoError(t, err)
	b.target = addr
	b.served.Go(b.accept) // ends with close
	t.Cleanup(func() {
		b.close()
		require.NoError(t, stop())
	})
	return b
}

func (b *hangingBroker) addr() string { return b.ln.Addr().String() }

// hang begins to hang for a client, at questions of those keys.
func (b *hangingBroker) hang(client string, keys ...kmsg.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.client, b.keys, b.hangs = client, keys, true
	b.asked = map[kmsg.Key]int{}
}

// resume answers again. What was asked meanwhile is lost, with its connection.
func (b *hangingBroker) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hangs = false
	for _, c := range b.silent {
		_ = c.Close()
	}
}

// questions returns how often the client has asked that since the broker hangs.
func (b *hangingBroker) questions(key kmsg.Key) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[key]
}

func (b *hangingBroker) close() {
	b.mu.Lock()
	b.closed = true
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	_ = b.ln.Close()
	b.served.Wait()
}

// keep has a connection closed at the end; it is false after it.
func (b *hangingBroker) keep(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, c)
	if b.closed {
		_ = c.Close()
	}
	return !b.closed
}

func (b *hangingBroker) accept() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return // closed
		}
		b.served.Go(func() { b.serve(c) }) // ends with the connection, or with close
	}
}

func (b *hangingBroker) serve(client net.Conn) {
	defer client.Close()
	if !b.keep(client) {
		return
	}
	server, err := net.Dial("tcp", b.target)
	if err != nil || !b.keep(server) {
		return
	}
	answers := make(chan struct{})
	go func() { // ends with the connection
		defer close(answers)
		_, _ = io.Copy(client, server)
		_ = client.Close()
	}()
	for {
		question, err := readQuestion(client)
		if err != nil {
			break
		}
		if b.hangsAt(question, client) {
			_, _ = io.Copy(io.Discard, client) // until the client gives up
			break
		}
		if _, err := server.Write(question); err != nil {
			break
		}
	}
	_ = server.Close()
	<-answers
}

// readQuestion reads one request: its size, API key, version, correlation id, client id, and the rest.
func readQuestion(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	question := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(question, size[:])
	_, err := io.ReadFull(r, question[4:])
	return question, err
}

func (b *hangingBroker) hangsAt(question []byte, conn net.Conn) bool {
	key := kmsg.Key(int16(binary.BigEndian.Uint16(question[4:])))
	client := ""
	if n := int(int16(binary.BigEndian.Uint16(question[12:]))); n > 0 {
		client = string(question[14 : 14+n])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if client != b.client {
		return false
	}
	b.asked[key]++
	if !b.hangs || (b.keys != nil && !slices.Contains(b.keys, key)) {
		return false
	}
	b.silent = append(b.silent, conn)
	select {
	case <-b.hung:
	default:
		close(b.hung)
	}
	return true
}
