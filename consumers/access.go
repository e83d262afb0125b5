package consumers

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas/link"
)

const (
	// dialTimeout bounds a connection to a broker.
	dialTimeout = 10 * time.Second
	// plainAfter is how long a handshake of TLS may take until the broker is asked in plain text.
	plainAfter = time.Second
	// probeTimeout bounds each question about how a broker wants to be spoken to.
	probeTimeout = 2 * time.Second
	// maxHandshake bounds an answer of SASL, in bytes.
	maxHandshake = 1 << 20
)

// errPlainText ends a handshake of TLS with a broker that does not speak it.
var errPlainText = errors.New("the broker speaks plain text")

// dial connects to a broker. The connection is guarded until the broker has let it in.
func (c Connection) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.TLS == nil {
		raw, err := c.connect(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &guard{Conn: raw, c: c, broker: addr}, nil
	}
	shaking, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer time.AfterFunc(plainAfter, func() { // some brokers take the beginning of TLS for that of a long request, and wait for the rest
		if speaksPlainText(shaking, addr) {
			end(errPlainText)
		}
	}).Stop()
	raw, err := c.TLS.DialContext(shaking, network, addr)
	_, refused := errors.AsType[*link.TLSError](err)
	_, away := errors.AsType[*net.OpError](err)
	switch {
	case err == nil:
		return &guard{Conn: raw, c: c, broker: addr}, nil
	case ctx.Err() != nil, away && !refused:
		return nil, err
	case errors.Is(context.Cause(shaking), errPlainText), ended(err) && speaksPlainText(ctx, addr):
		return nil, c.refuse(addr, "it speaks plain text on this port: use its port for TLS, or leave kafka.tls out")
	case ended(err): // it may just be ending
		return nil, err
	}
	if e, ok := errors.AsType[*link.TLSError](err); ok {
		return nil, c.refuse(addr, "%s", e.What)
	}
	return nil, c.refuse(addr, "%v", err) // such as a file that cannot be read
}

// connect is dial without the guard.
func (c Connection) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.TLS != nil {
		return c.TLS.DialContext(ctx, network, addr)
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
}

// ended tells whether the other side has ended a connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// The states of a guard.
const (
	guarding int32 = iota // the client asks for versions and authenticates
	asking                // it has asked its first question, and nothing is answered yet
	open                  // it is let in
)

// guard is a connection to a broker that says why it is not let in. The client asks for the
// versions, authenticates, and then asks its first question, one after the other, each with one
// call of Write. A broker that wants TLS or SASL ends the connection instead of an answer, as does
// one that is restarted: the guard then asks the broker, by connections of its own, which it is.
// What the broker says to SASL is read here, since the client would make its own words of it.
// Behind the first answer, guard does nothing.
type guard struct {
	net.Conn
	c      Connection
	broker string

	state  atomic.Int32
	key    atomic.Int32 // of the request that is answered next, and its version
	ver    atomic.Int32
	answer []byte // of SASL, what of it is not handed on yet; used by Read alone
}

// Write implements net.Conn. p is one request: its size, its key, its version, and more.
func (g *guard) Write(p []byte) (int, error) {
	if len(p) < 8 {
		return g.Conn.Write(p)
	}
	switch key := int16(binary.BigEndian.Uint16(p[4:])); {
	case key == int16(kmsg.SASLHandshake), key == int16(kmsg.SASLAuthenticate): // also when it authenticates anew, much later
		g.state.Store(guarding)
		g.ver.Store(int32(binary.BigEndian.Uint16(p[6:])))
		g.key.Store(int32(key))
	case g.state.Load() == guarding:
		g.key.Store(int32(key))
		if key != int16(kmsg.ApiVersions) {
			g.state.Store(asking)
		}
	}
	return g.Conn.Write(p)
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.answer) > 0 {
		n := copy(p, g.answer)
		g.answer = g.answer[n:]
		return n, nil
	}
	state := g.state.Load()
	if state == open {
		return g.Conn.Read(p)
	}
	key := kmsg.Key(g.key.Load())
	if state == guarding && key != kmsg.ApiVersions {
		if err := g.authenticates(key); err != nil {
			return 0, err
		}
		return g.Read(p)
	}
	n, err := g.Conn.Read(p)
	switch {
	case n > 0 && state == asking:
		g.state.Store(open)
		if g.c.Access != nil {
			g.c.Access(g.broker, nil)
		}
	case n >= 3 && g.c.TLS == nil && p[0] == 0x15 && p[1] == 3: // an alert of TLS, where the size of an answer stands
		return 0, g.wantsTLS()
	case n == 0 && err != nil:
		return 0, g.unanswered(key, err)
	}
	return n, err
}

// authenticates reads the whole answer to a request of SASL.
func (g *guard) authenticates(key kmsg.Key) error {
	var size [4]byte
	if _, err := io.ReadFull(g.Conn, size[:]); err != nil {
		return g.unanswered(key, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxHandshake {
		return g.c.refuse(g.broker, "its answer to SASL is none of Kafka's (%d bytes)", n)
	}
	text := make([]byte, 4+n)
	copy(text, size[:])
	if _, err := io.ReadFull(g.Conn, text[4:]); err != nil {
		return err // it has begun to answer, so it is ending, and does not refuse
	}
	var resp kmsg.Response = kmsg.NewPtrSASLHandshakeResponse()
	if key == kmsg.SASLAuthenticate {
		resp = kmsg.NewPtrSASLAuthenticateResponse()
	}
	resp.SetVersion(int16(g.ver.Load()))
	body := text[8:] // behind the size and the number of the question
	if resp.IsFlexible() && len(body) > 0 && body[0] == 0 {
		body = body[1:] // no tags
	}
	if resp.ReadFrom(body) == nil { // else the client says what is wrong with it
		if err := g.said(resp); err != nil {
			return err
		}
	}
	g.answer = text
	return nil
}

// said is why a broker does not go on with SASL, by its answer; nil where it does.
func (g *guard) said(resp kmsg.Response) error {
	switch r := resp.(type) {
	case *kmsg.SASLHandshakeResponse:
		switch r.ErrorCode {
		case 0:
			return nil
		case kerr.UnsupportedSaslMechanism.Code:
			return g.c.refuse(g.broker, "it does not offer %s but %s: set %s.mechanism to what it offers", g.c.SASL.Mechanism, offered(r.SupportedMechanisms), g.c.SASL.Prefix)
		case kerr.IllegalSaslState.Code:
			return g.wantsNoSASL()
		default:
			return g.c.refuse(g.broker, "it refuses %s: %v", g.c.SASL.Mechanism, kerr.ErrorForCode(r.ErrorCode))
		}
	case *kmsg.SASLAuthenticateResponse:
		reason := ""
		if r.ErrorMessage != nil {
			reason = *r.ErrorMessage
		}
		switch r.ErrorCode {
		case 0:
			return nil
		case kerr.IllegalSaslState.Code:
			return g.wantsNoSASL()
		case kerr.SaslAuthenticationFailed.Code:
			return g.c.unauthenticated(g.broker, reason)
		default:
			return g.c.unauthenticated(g.broker, strings.TrimSpace(kerr.ErrorForCode(r.ErrorCode).Error()+" "+reason))
		}
	}
	return nil
}

func (g *guard) wantsNoSASL() error {
	return g.c.refuse(g.broker, "it takes no SASL on this port: use its port for SASL, or leave %s out", g.c.SASL.Prefix)
}

func (g *guard) wantsTLS() error {
	return g.c.refuse(g.broker, "it speaks TLS on this port: set kafka.tls.enabled, and kafka.tls.ca_file if its authority is not a public one")
}

// unanswered finds out why a request has no answer. What is not known for sure is left as it is.
func (g *guard) unanswered(key kmsg.Key, err error) error {
	if e, ok := errors.AsType[*link.TLSError](err); ok {
		return g.c.refuse(g.broker, "%s", e.What)
	}
	if !ended(err) {
		return err
	}
	ctx := context.Background() // each probe has its timeout
	switch {
	case key == kmsg.SASLAuthenticate: // brokers before Kafka 1.0, and those that are not Kafka
		return g.c.unauthenticated(g.broker, "")
	case key == kmsg.ApiVersions && g.c.TLS == nil && speaksTLS(ctx, g.broker):
		return g.wantsTLS()
	case key == kmsg.ApiVersions && g.c.TLS != nil:
		if alert := g.c.alerted(ctx, g.broker); alert != nil {
			return g.c.refuse(g.broker, "%s", alert.What)
		}
	case key != kmsg.ApiVersions && key != kmsg.SASLHandshake && g.c.SASL == nil:
		if mechanisms, wants := g.c.wantsSASL(ctx, g.broker); wants {
			return g.c.refuse(g.broker, "it wants authentication by SASL, and offers %s: set kafka.sasl.mechanism to what it offers", offered(mechanisms))
		}
	}
	return err
}

// offered lists mechanisms as a broker does.
func offered(mechanisms []string) string {
	if len(mechanisms) == 0 {
		return "nothing that it names"
	}
	return link.Excerpt(strings.Join(mechanisms, ", "))
}

// probe connects and asks one question. It returns the answer, behind its size and number; nil if
// there is none.
func probe(ctx context.Context, connect func(ctx context.Context, network, addr string) (net.Conn, error), addr string, req kmsg.Request) []byte {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := connect(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	const number = 0x6d72 // of the question
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("millrace")).AppendRequest(nil, req, number)); err != nil {
		return nil
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil || binary.BigEndian.Uint32(head[4:]) != number {
		return nil
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > maxHandshake {
		return nil
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil
	}
	return body
}

// speaksPlainText tells whether a broker answers a question in plain text, for sure.
func speaksPlainText(ctx context.Context, addr string) bool {
	return probe(ctx, (&net.Dialer{}).DialContext, addr, kmsg.NewPtrApiVersionsRequest()) != nil
}

// speaksTLS tells whether a broker answers the beginning of TLS by TLS, for sure.
func speaksTLS(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer raw.Close()
	answered := false
	err = tls.Client(raw, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // nothing is said to it
		MinVersion:         tls.VersionTLS12,
		VerifyConnection:   func(tls.ConnectionState) error { answered = true; return nil },
	}).HandshakeContext(ctx)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		answered = true // an alert, such as that it wants a certificate
	}
	return answered || err == nil
}

// alerted returns what a broker says of this program's certificate when nothing is asked: a reset
// of the connection, which a question on its way causes, can overtake the alert.
func (c Connection) alerted(ctx context.Context, addr string) *link.TLSError {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := c.TLS.DialContext(ctx, "tcp", addr)
	if err == nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
		_, err = conn.Read(make([]byte, 1))
	}
	if e, ok := errors.AsType[*link.TLSError](err); ok && !ended(err) {
		return e
	}
	return nil
}

// wantsSASL tells whether a broker answers no question before SASL, for sure, and what it offers.
func (c Connection) wantsSASL(ctx context.Context, addr string) (mechanisms []string, wants bool) {
	metadata := kmsg.NewPtrMetadataRequest() // of no topics
	metadata.Version = 1
	if probe(ctx, c.connect, addr, metadata) != nil {
		return nil, false
	}
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Version, handshake.Mechanism = 1, "NONE"
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.Version = 1
	answer := probe(ctx, c.connect, addr, handshake)
	if answer == nil || resp.ReadFrom(answer) != nil {
		return nil, false
	}
	return resp.SupportedMechanisms, resp.ErrorCode == kerr.UnsupportedSaslMechanism.Code
}
