package clickhouse

import (
	"time"

	"github.com/rs/zerolog"
)

// SetLogger replaces the client's logger.
func SetLogger(c *Client, log zerolog.Logger) { c.log = log }

// SetTimeouts sets how long answers to questions and inserts are waited for.
func SetTimeouts(c *Client, answer, insert time.Duration) {
	c.answerTimeout, c.insertTimeout = answer, insert
}

// AwaitHello has a client wait no longer for the first answer of a server that is not the last.
func AwaitHello(c *Client, timeout time.Duration) { c.fleet.hello = timeout }
