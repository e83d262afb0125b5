//go:build linux && amd64

package embedded

import (
	"errors"
	"net"
	"sync"
)

// limitedListener accepts so many connections at a time. Unlike netutil.LimitListener's, they can
// be closed for writing alone, by which net/http sees to it that an early answer arrives.
type limitedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limitListener(ln net.Listener, n int) net.Listener {
	return &limitedListener{Listener: ln, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	release := sync.OnceFunc(func() { <-l.slots })
	tcp, ok := conn.(*net.TCPConn)
	if !ok { // Serve takes addresses of TCP alone
		release()
		return nil, errors.Join(errors.New("not a TCP connection"), conn.Close())
	}
	return &limitedConn{tcp, release}, nil
}

// Close implements net.Listener.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	*net.TCPConn
	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}
