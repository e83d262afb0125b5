package consumers

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas/link"
)

// Connection says how to reach Kafka. Every client of the program is dialled by one, those of
// producers too: what it takes to be let in belongs here and nowhere else.
type Connection struct {
	Brokers  []string
	ClientID string
	TLS      *link.Dialer      // nil: plain text
	SASL     *link.Credentials // nil: none
	// Access, if set, is told of each connection that a broker does not let in, with a RefusedError,
	// and with nil of each that it does. Clients then try on, as they do while a broker is away:
	// credentials and certificates may be about to be renewed, on either side. Where Access is nil,
	// a refusal is the answer. It is called by several goroutines, and must not block.
	Access func(broker string, err error)
}

// RefusedError says that a broker does not let this program in, or is not spoken to as it speaks,
// in one sentence that names the broker and the key to mend. It holds no secret.
type RefusedError struct {
	Broker string // host:port
	What   string

	passing bool // clients try on
}

func (e *RefusedError) Error() string { return fmt.Sprintf("broker %s: %s", e.Broker, e.What) }

// Temporary tells the client whether to try on.
func (e *RefusedError) Temporary() bool { return e.passing }

// refuse makes a RefusedError, and tells of it.
func (c Connection) refuse(broker, format string, args ...any) error {
	err := &RefusedError{Broker: broker, What: fmt.Sprintf(format, args...), passing: c.Access != nil}
	if c.Access != nil {
		c.Access(broker, err)
	}
	return err
}

func (c Connection) options() []kgo.Opt {
	// A broker that ends when it has just accepted a connection is away, and not one that wants
	// SASL or TLS, as kgo would conclude: the guard finds out which of the two it is.
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID(c.ClientID), kgo.AlwaysRetryEOF(), kgo.Dialer(c.dial)}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(mechanism{c}))
	}
	return opts
}

// Dial returns a client, which connects when it is used first. Close it.
func (c Connection) Dial(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(c.options(), opts...)...)
}

// dialSession is Dial for a group member whose offsets are part of transactions.
func (c Connection) dialSession(opts ...kgo.Opt) (*kgo.GroupTransactSession, error) {
	return kgo.NewGroupTransactSession(append(c.options(), opts...)...)
}
