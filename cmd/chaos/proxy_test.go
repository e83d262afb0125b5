package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo answers every byte; heard is closed at the end of what the first client sends.
func echoServer(t *testing.T) (addr string, heard chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	heard = make(chan struct{})
	var open sync.WaitGroup
	var once sync.Once
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				once.Do(func() { close(heard) })
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, ln.Close())
		open.Wait()
	})
	return ln.Addr().String(), heard
}

// firstByte names a client by its first byte.
func firstByte(r *bufio.Reader) (string, error) {
	b, err := r.Peek(1)
	return string(b), err
}

// dial connects and sends text.
func dial(t *testing.T, p *proxy, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write([]byte(text))
	require.NoError(t, err)
	return c
}

// receive reads the text that is expected, within a second.
func receive(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// silent checks that nothing comes for a while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func isReset(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := c.Read(make([]byte, 1))
	require.True(t, errors.Is(err, syscall.ECONNRESET), "%v", err)
}

func TestProxy(t *testing.T) {
	addr, heard := echoServer(t)
	p, err := newProxy(addr, firstByte)
	require.NoError(t, err)
	t.Cleanup(p.Close)

	a, b := dial(t, p, "a1"), dial(t, p, "b1")
	receive(t, a, "a1")
	receive(t, b, "b1")

	p.gate("a").set(Fault{Kind: Cut})
	isReset(t, a)
	_, err = b.Write([]byte("b2"))
	require.NoError(t, err)
	receive(t, b, "b2") // the other client goes on
	isReset(t, dial(t, p, "a2"))
	p.gate("a").set(Fault{})
	a = dial(t, p, "a3")
	receive(t, a, "a3")

	p.gate(everyone).set(Fault{Kind: BlackHole})
	_, err = a.Write([]byte("late"))
	require.NoError(t, err)
	c := dial(t, p, "c1")
	silent(t, a)
	silent(t, c)
	p.gate(everyone).set(Fault{})
	receive(t, a, "late")
	receive(t, c, "c1")

	p.gate("a").set(Fault{Kind: Mute})
	_, err = a.Write([]byte("unheard"))
	require.NoError(t, err)
	silent(t, a)
	p.gate("a").set(Fault{})
	isReset(t, a)

	p.gate("b").set(Fault{Kind: Delay, Latency: 100 * time.Millisecond})
	began := time.Now()
	_, err = b.Write([]byte("b3"))
	require.NoError(t, err)
	receive(t, b, "b3")
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond, "there and back")
	p.gate("b").set(Fault{})

	a = dial(t, p, "a4")
	receive(t, a, "a4")
	p.gate("a").set(Fault{Kind: HalfClose})
	<-heard
	require.NoError(t, a.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = a.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the service has ended its side too")
	p.gate("a").set(Fault{})

	require.NoError(t, b.Close())
	p.Close()
	isReset(t, c)
}

// TestProxyEnd: what a client sent before it went away arrives, late, when the black hole ends.
func TestProxyEnd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	p, err := newProxy(ln.Addr().String(), nil)
	require.NoError(t, err)
	defer p.Close()
	c := dial(t, p, "1")
	server, err := ln.Accept()
	require.NoError(t, err)
	receive(t, server, "1")
	p.gate(everyone).set(Fault{Kind: BlackHole})
	_, err = c.Write([]byte("insert"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	silent(t, server)
	p.gate(everyone).set(Fault{})
	receive(t, server, "insert")
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, server.Close())
}

// TestProxyLate: what a client sent before it saw a reset arrives behind what it sends next.
func TestProxyLate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	p, err := newProxy(ln.Addr().String(), nil)
	require.NoError(t, err)
	defer p.Close()
	accept := func() net.Conn {
		c, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial(t, p, "1")
	first := accept()
	receive(t, first, "1")
	p.gate(everyone).set(Fault{Kind: Late})
	_, err = c.Write([]byte("insert"))
	require.NoError(t, err)
	_, err = first.Write([]byte("answer"))
	require.NoError(t, err)
	silent(t, c)
	silent(t, first)
	p.gate(everyone).set(Fault{Kind: abandoned})
	isReset(t, c)
	silent(t, first)
	c = dial(t, p, "again")
	second := accept()
	receive(t, second, "again")
	_, err = second.Write([]byte("done"))
	require.NoError(t, err)
	receive(t, c, "done")
	p.gate(everyone).set(Fault{})
	receive(t, first, "insert")
	_, err = first.Write([]byte("unheard"))
	require.NoError(t, err)
	silent(t, first)
}

func TestKafkaClient(t *testing.T) {
	request := func(id string, length int) []byte {
		b := binary.BigEndian.AppendUint32(nil, 100)
		b = append(b, 0, 18, 0, 3, 0, 0, 0, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		return append(b, id...)
	}
	read := func(b []byte) (string, error) {
		server, client := net.Pipe()
		defer server.Close()
		go func() {
			_, _ = client.Write(b)
			_ = client.Close()
		}()
		return kafkaClient(bufio.NewReader(server))
	}
	id, err := read(request("worker-1", 8))
	require.NoError(t, err)
	require.Equal(t, "worker-1", id)
	id, err = read(request("", -1))
	require.NoError(t, err)
	require.Empty(t, id)
	_, err = read(request("work", 8))
	require.ErrorIs(t, err, io.EOF)
	_, err = read([]byte{0, 0})
	require.ErrorIs(t, err, io.EOF)
}

// TestWhoseConnection: whose connection it is stands in the first request or, over TLS, in the host
// that the handshake asks for; nothing of either is consumed.
func TestWhoseConnection(t *testing.T) {
	request := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 18, 0, 18, 0, 3, 0, 0, 0, 1}, 8)
	request = append(request, "worker-0"...)
	var hello bytes.Buffer
	client := tls.Client(recorded{&hello}, &tls.Config{ServerName: "recorder-1.chaos.test", MinVersion: tls.VersionTLS12})
	require.Error(t, client.HandshakeContext(t.Context()), "nobody answers")
	for name, tc := range map[string]struct {
		sent []byte
		want string
	}{
		"request": {request, "worker-0"},
		"TLS":     {hello.Bytes(), "recorder-1"},
	} {
		t.Run(name, func(t *testing.T) {
			in := bufio.NewReaderSize(bytes.NewReader(tc.sent), pieceBytes)
			got, err := kafkaClient(in)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			rest, err := io.ReadAll(in)
			require.NoError(t, err)
			require.Equal(t, tc.sent, rest)
			_, err = kafkaClient(bufio.NewReaderSize(bytes.NewReader(tc.sent[:len(tc.sent)-1]), pieceBytes))
			require.Error(t, err, "cut short")
		})
	}
	_, err := kafkaClient(bufio.NewReader(bytes.NewReader([]byte("\x16\x03\x01\x00\x04junk"))))
	require.Error(t, err)
}

// recorded is a connection that takes all, and answers with its end.
type recorded struct{ *bytes.Buffer }

func (recorded) Read([]byte) (int, error)         { return 0, io.EOF }
func (recorded) Close() error                     { return nil }
func (recorded) LocalAddr() net.Addr              { return nil }
func (recorded) RemoteAddr() net.Addr             { return nil }
func (recorded) SetDeadline(time.Time) error      { return nil }
func (recorded) SetReadDeadline(time.Time) error  { return nil }
func (recorded) SetWriteDeadline(time.Time) error { return nil }
