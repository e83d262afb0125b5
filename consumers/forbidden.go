package consumers

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas/link"
)

// need is an operation on resources of one kind that a request must be allowed.
type need struct {
	operation, kind string
	names           []string
	refusal         error // by which Kafka says that it is not
}

func onTopics(operation string, names ...string) need {
	return need{operation, "topic", names, kerr.TopicAuthorizationFailed}
}

func onGroup(operation, name string) need {
	return need{operation, "group", []string{name}, kerr.GroupAuthorizationFailed}
}

func onTransactionalID(operation, name string) need {
	return need{operation, "transactional id", []string{name}, kerr.TransactionalIDAuthorizationFailed}
}

// lacking returns err as a link.ForbiddenError where it says that one of the needs is not met. Any other
// error, and nil, it returns as it is.
func lacking(err error, needs ...need) error {
	if _, told := errors.AsType[*link.ForbiddenError](err); told {
		return err
	}
	for _, n := range needs {
		// Who may write to no topic at all may not even begin to produce.
		if errors.Is(err, n.refusal) || n.operation == "Write" && errors.Is(err, kerr.ClusterAuthorizationFailed) {
			return &link.ForbiddenError{Operation: n.operation, Kind: n.kind, Names: n.names, Err: err}
		}
	}
	return err
}

// isForbidden tells whether ACLs forbid what was asked for: until an operator has changed them, asking
// again is of no use.
func isForbidden(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) ||
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

// eachOf asks for each topic alone where asking for all together is forbidden, so that the error
// names the one that is.
func eachOf(err error, topics []string, ask func(topic string) error) error {
	if err == nil || !isForbidden(err) {
		return err
	}
	for _, topic := range topics {
		if own := ask(topic); own != nil {
			return own
		}
	}
	return err
}
