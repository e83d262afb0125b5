package link

import (
	"fmt"
	"strings"
)

// ForbiddenError says which of Kafka's ACLs the user of a connection lacks.
type ForbiddenError struct {
	Operation string   // as ACLs name it: Read, Write, Describe, DescribeConfigs…
	Kind      string   // of resource: topic, group, transactional id
	Names     []string // of several it is not known which is forbidden
	Err       error    // Kafka's own
}

// Error implements error.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("this user lacks the ACL %s on %s %s: %v", e.Operation, e.Kind, strings.Join(e.Names, ", "), e.Err)
}

// Unwrap returns Kafka's own error.
func (e *ForbiddenError) Unwrap() error { return e.Err }
