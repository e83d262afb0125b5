package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// proxy passes connections on to one address, and does to those of one client, or of all,
// what faults ask for. It is safe for concurrent use. Close it.
type proxy struct {
	ln      net.Listener
	clients func(r *bufio.Reader) (client string, err error) // nil: there is one client, everyone

	mu     sync.Mutex
	target string
	gates  map[string]*gate // by client
	closed bool
	open   sync.WaitGroup
}

// newProxy listens on a free port of loopback. Each connection belongs to the client that
// its first bytes name, which clients must not consume.
func newProxy(target string, clients func(r *bufio.Reader) (string, error)) (*proxy, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	p := &proxy{ln: ln, clients: clients, target: target, gates: map[string]*gate{}}
	p.open.Go(p.accept) // ends with Close
	return p, nil
}

// Addr returns the address that clients use.
func (p *proxy) Addr() string { return p.ln.Addr().String() }

// Close resets every connection and waits for the end of what served them.
func (p *proxy) Close() {
	p.mu.Lock()
	p.closed = true
	gates := make([]*gate, 0, len(p.gates))
	for _, g := range p.gates {
		gates = append(gates, g)
	}
	p.mu.Unlock()
	_ = p.ln.Close()
	for _, g := range gates {
		g.set(Fault{Kind: Cut})
	}
	p.gate(everyone).set(Fault{Kind: Cut})
	p.open.Wait()
}

// retarget leads new connections to another address, and resets those that are there.
func (p *proxy) retarget(addr string) {
	p.mu.Lock()
	p.target = addr
	p.mu.Unlock()
	all := p.gate(everyone)
	all.set(Fault{Kind: Cut})
	all.set(Fault{})
}

// gate returns the gate of a client, or of everyone.
func (p *proxy) gate(client string) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.gates[client]
	if !ok {
		g = &gate{changed: make(chan struct{}), conns: map[*conn]bool{}}
		p.gates[client] = g
	}
	return g
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return // closed
		}
		p.open.Go(func() { p.serve(client.(*net.TCPConn)) }) // ends with the connection
	}
}

// identification bounds the wait for the first bytes of a client.
const identification = 10 * time.Second

func (p *proxy) serve(client *net.TCPConn) {
	c := &conn{client: client, done: make(chan struct{})}
	defer c.reset()
	all := p.gate(everyone)
	c.gates = []*gate{all}
	if !all.enter(c) {
		return
	}
	defer all.leave(c)
	in := bufio.NewReaderSize(client, pieceBytes)
	if p.clients != nil {
		_ = client.SetReadDeadline(time.Now().Add(identification))
		name, err := p.clients(in)
		if err != nil {
			return
		}
		_ = client.SetReadDeadline(time.Time{})
		own := p.gate(name)
		if !own.enter(c) {
			return
		}
		defer own.leave(c)
		c.gates = []*gate{all, own}
	}
	if !c.pass(false) {
		return
	}
	p.mu.Lock()
	target, closed := p.target, p.closed
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, identification) //nolint:noctx // bounded
	if err != nil || closed || !c.connected(server.(*net.TCPConn)) {
		return
	}
	answered := make(chan struct{})
	go func() { // ends with the connection: reset ends both of its ends
		defer close(answered)
		c.pump(client, server, true)
	}()
	c.pump(c.server, in, false)
	<-answered
}

// gate is how one client reaches one service. The zero Fault leaves it open.
type gate struct {
	mu      sync.Mutex
	fault   Fault
	felt    bool          // the fault has been done to a connection
	changed chan struct{} // closed and replaced with fault
	conns   map[*conn]bool
}

// set closes the gate as a fault says, or opens it.
func (g *gate) set(f Fault) {
	g.mu.Lock()
	before := g.fault
	g.fault = f
	if f.Kind != abandoned { // the second half of one
		g.felt = false
	}
	conns := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
		switch { // before what was held can go on
		case f.Kind == Cut || before.Kind == Mute:
			c.reset()
		case f.Kind == abandoned:
			c.abandon()
		}
	}
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	for _, c := range conns {
		if f.Kind == Cut || f.Kind == abandoned || f.Kind == HalfClose && before.Kind != Mute && c.halfClose() {
			g.feel()
		}
	}
}

// feel notes that the fault has been done to a connection.
func (g *gate) feel() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.felt = true
}

// Felt tells whether the fault has been done to any connection: what nobody has meant to
// send was not held up.
func (g *gate) Felt() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.felt
}

func (g *gate) state() (Fault, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault, g.changed
}

// enter makes the gate's faults hold for c, unless it is cut off.
func (g *gate) enter(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault.Kind == Cut {
		g.felt = true
		return false
	}
	g.conns[c] = true
	return true
}

func (g *gate) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// conn is one connection of a client, and its other half to the service.
type conn struct {
	client *net.TCPConn
	gates  []*gate // in the order of their faults
	done   chan struct{}

	mu       sync.Mutex
	server   *net.TCPConn // nil before it is dialled
	over     bool
	orphaned bool
}

// connected takes the other half, unless the connection was reset meanwhile.
func (c *conn) connected(server *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = server
	if c.over {
		discard(server)
	}
	return !c.over
}

// reset ends both halves so that their peers see a reset, and lose what is on its way.
func (c *conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	close(c.done)
	discard(c.client)
	if c.server != nil {
		discard(c.server)
	}
}

func discard(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// halfClose tells the service that the client sends no more, which the client does not know.
// It is false where the service does not know the client yet.
func (c *conn) halfClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server != nil && c.server.CloseWrite() == nil
}

// abandon lets the client see a reset, but not the service.
func (c *conn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orphaned = true
	discard(c.client)
}

func (c *conn) orphan() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.orphaned
}

// pass waits until data may pass, as the gates' faults say, and is false when the
// connection is over.
func (c *conn) pass(answers bool) bool {
	for i := 0; i < len(c.gates); {
		f, changed := c.gates[i].state()
		var late <-chan time.Time
		switch {
		case f.Kind == BlackHole, f.Kind == Mute && answers, f.Kind == Late, f.Kind == abandoned && c.orphan():
		case f.Kind == Delay:
			late = time.After(f.Latency)
		default:
			i++
			continue
		}
		c.gates[i].feel()
		select {
		case <-changed:
		case <-late:
			i++
		case <-c.done:
			return false
		}
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// gathers tells whether what the client sends is to be taken from it, but not passed on.
func (c *conn) gathers() bool {
	for _, g := range c.gates {
		if f, _ := g.state(); f.Kind == Late {
			return true
		}
	}
	return false
}

const (
	pieceBytes = 64 << 10
	// mostGathered bounds what is taken from a client that is about to be abandoned.
	mostGathered = 32 << 20
	// afterlife is how long a service may work on what an abandoned client had sent.
	afterlife = 10 * time.Second
)

// pump copies one direction until its end, which it passes on in order. It does not tell
// the service that an abandoned client has gone: the service may do what it was asked to.
func (c *conn) pump(to *net.TCPConn, from io.Reader, answers bool) {
	piece := make([]byte, pieceBytes)
	var data []byte
	for {
		n, ended := from.Read(piece)
		data = append(data, piece[:n]...)
		if ended == nil && !answers && len(data) < mostGathered && c.gathers() {
			continue
		}
		if !c.pass(answers) {
			return
		}
		orphan := c.orphan()
		if len(data) > 0 && (!orphan || !answers) {
			if _, err := to.Write(data); err != nil {
				c.reset()
				return
			}
		}
		data = data[:0]
		switch {
		case ended != nil && orphan && !answers:
			_ = to.SetReadDeadline(time.Now().Add(afterlife))
			return
		case ended != nil:
			_ = to.CloseWrite()
			return
		}
	}
}

// kafkaClient reads the client id in the header of a connection's first Kafka request. What goes
// over TLS it cannot read: then the client is the first label of the host that it asks for.
func kafkaClient(r *bufio.Reader) (string, error) {
	if first, err := r.Peek(1); err == nil && first[0] == tlsHandshake {
		return tlsClient(r)
	}
	// Size (4 bytes), API key (2), API version (2), correlation id (4), length of the id (2).
	const header = 14
	head, err := r.Peek(header)
	if err != nil {
		return "", fmt.Errorf("read the header of a Kafka request: %w", err)
	}
	length := int(int16(binary.BigEndian.Uint16(head[header-2:])))
	if length < 0 { // null
		return "", nil
	}
	head, err = r.Peek(header + length)
	if err != nil {
		return "", fmt.Errorf("read the client id of a Kafka request: %w", err)
	}
	return string(head[header:]), nil
}

// tlsHandshake is the first byte of a TLS connection; that of a Kafka request is 0, the highest of its size.
const tlsHandshake = 0x16

// tlsClient reads the first label of the host that the ClientHello of a TLS handshake asks for.
func tlsClient(r *bufio.Reader) (string, error) {
	const header = 5 // of a TLS record: type (1), version (2), length (2)
	head, err := r.Peek(header)
	if err != nil {
		return "", fmt.Errorf("read the header of a TLS record: %w", err)
	}
	hello, err := r.Peek(header + int(binary.BigEndian.Uint16(head[header-2:])))
	if err != nil {
		return "", fmt.Errorf("read a ClientHello: %w", err)
	}
	host := ""
	err = tls.Server(replayed{Reader: bytes.NewReader(hello)}, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			host = hello.ServerName
			return nil, errHeard
		},
	}).HandshakeContext(context.Background())
	if !errors.Is(err, errHeard) {
		return "", fmt.Errorf("read a ClientHello: %w", err)
	}
	client, _, _ := strings.Cut(host, ".")
	return client, nil
}

// errHeard ends a handshake of which only the beginning is of interest.
var errHeard = errors.New("heard enough")

// replayed is a connection of which everything that comes has come. What is written to it is lost.
type replayed struct {
	net.Conn
	io.Reader
}

// Read implements net.Conn.
func (c replayed) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// Write implements net.Conn.
func (c replayed) Write(p []byte) (int, error) { return len(p), nil }

// Close implements net.Conn.
func (c replayed) Close() error { return nil }

// SetWriteDeadline implements net.Conn.
func (c replayed) SetWriteDeadline(time.Time) error { return nil }
