// An example of a sender. It claims messages of one account, sends them, and reports what became of each.
//
//	sender SERVICE ACCOUNT [CAMPAIGN]
//	sender 127.0.0.1:50051 workspaces/default/accounts/anna
//
// With CAMPAIGN (workspaces/default/campaigns/welcome) it sends for that one alone, otherwise for all that the account serves.
// Replace `send` by your provider. docs/senders.md explains the rest. SIGTERM or Ctrl-C ends the sender: it reports what
// it has sent and gives back the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "campaign-metrics.io/examples/go/campaign_metrics/v1"
)

const (
	perSecond = 100              // messages that the provider takes
	maxClaims = 100              // of a call: far fewer than can be sent in the 5 minutes for which claims are held
	portion   = 10               // messages between a renewal and a report; a pause takes effect after at most so many
	pollMax   = 30 * time.Second // nobody tells a sender that leads were added or a campaign was resumed
	deadline  = 10 * time.Second // for one attempt of a call
	stopMax   = 20 * time.Second // for repeats after SIGTERM; less than the grace period of a Pod, which is 30 s
)

var errBusy = errors.New("the provider takes no message now, and has not taken this one")

type sender struct {
	client             pb.SendingServiceClient
	account, workspace string
	campaign           string          // empty for all that the account serves
	stop               context.Context // done after SIGTERM
	end                context.Context // done when repeats end, too
	counts             map[pb.OutcomeVerdict]int
	released           int32
	busyBefore         map[string]bool // only for the stand-in
}

// call returns the answer, after repeats if necessary. A repeat is the same request with the same request id.
func call[Q, A any](s *sender, method func(context.Context, *Q, ...grpc.CallOption) (*A, error), request *Q) (*A, error) {
	for wait := time.Second; ; wait = min(2*wait, 16*time.Second) {
		attempt, cancel := context.WithTimeout(s.end, deadline)
		answer, err := method(attempt, request)
		cancel()
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		default:
			return answer, err
		}
		if s.end.Err() != nil {
			return nil, err
		}
		log.Printf("repeat after %v", err)
		if s.stop.Err() != nil {
			sleep(s.end, time.Second)
		} else {
			// At random, so that senders that failed together do not come back together.
			sleep(s.stop, jitter(max(wait, askedWait(err)), 0.5))
		}
	}
}

// askedWait returns how long the service asks to wait at least before a repeat: the RetryInfo of an error.
func askedWait(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func jitter(wait time.Duration, share float64) time.Duration {
	return time.Duration(float64(wait) * (1 + share*rand.Float64()))
}

func sleep(until context.Context, wait time.Duration) {
	select {
	case <-until.Done():
	case <-time.After(wait):
	}
}

func (s *sender) run() error {
	for s.stop.Err() == nil {
		// One id for each request, also when the call is repeated: a lost answer then loses no claims.
		request := &pb.ClaimSendsRequest{
			Account: s.account, Campaign: s.campaign, MaxClaims: maxClaims, RequestId: uuid.NewString(),
		}
		answer, err := call(s, s.client.ClaimSends, request)
		if err != nil {
			return err
		}
		unsent := answer.Claims
		for len(unsent) > 0 && s.stop.Err() == nil && err == nil {
			// After an error a portion is not given back: some of it may have been sent.
			size := min(portion, len(unsent))
			next := unsent[:size]
			unsent = unsent[size:]
			err = s.sendPortion(next)
		}
		if err := errors.Join(err, s.release(unsent, nil)); err != nil {
			return err
		}
		if len(answer.Claims) == 0 {
			wait := pollMax
			if answer.NextChangeTime != nil {
				wait = min(max(time.Until(answer.NextChangeTime.AsTime()), time.Second), pollMax)
			}
			sleep(s.stop, jitter(wait, 0.1))
		}
	}
	return nil
}

// sendPortion sends what may still be sent, reports it, and gives back the rest.
func (s *sender) sendPortion(claims []*pb.Claim) error {
	renewals, err := call(s, s.client.RenewClaims, &pb.RenewClaimsRequest{Account: s.account, ClaimIds: ids(claims)})
	if err != nil {
		return err
	}
	var outcomes []*pb.Outcome
	var unsent, busy []*pb.Claim
	for i, claim := range claims {
		if s.stop.Err() != nil || renewals.Results[i].Verdict != pb.RenewVerdict_RENEW_VERDICT_RENEWED {
			unsent = append(unsent, claim)
			continue
		}
		outcome, err := s.send(claim)
		switch {
		case errors.Is(err, errBusy):
			busy = append(busy, claim)
		case err != nil:
			log.Printf("unknown whether %s was sent: %v", claim.SendKey, err)
		default:
			outcome.SendKey, outcome.Time = claim.SendKey, timestamppb.Now()
			outcomes = append(outcomes, outcome)
		}
	}
	later := timestamppb.New(time.Now().Add(2 * time.Second))
	return errors.Join(s.report(outcomes), s.release(unsent, nil), s.release(busy, later))
}

// send is a stand-in for the provider; leads whose ids begin with `busy` or `wrong` show what can happen.
//
// claim.Campaign and claim.Step say which message to send, claim.Lead to whom. Pass claim.SendKey to the provider as the
// idempotency key. If it is unknown whether the provider took the message, ask again with the same key. If that fails too,
// return an error: nothing is reported, and the claim becomes uncertain.
func (s *sender) send(claim *pb.Claim) (*pb.Outcome, error) {
	time.Sleep(time.Second / perSecond)
	lead := claim.Lead[strings.LastIndex(claim.Lead, "/")+1:]
	if strings.HasPrefix(lead, "busy") && !s.busyBefore[claim.SendKey] {
		s.busyBefore[claim.SendKey] = true
		return nil, errBusy
	}
	if strings.HasPrefix(lead, "wrong") {
		return &pb.Outcome{
			Kind:   pb.OutcomeKind_OUTCOME_KIND_FAILED,
			Reason: pb.FailureReason_FAILURE_REASON_INVALID_LEAD,
			Detail: "no such address",
		}, nil
	}
	fmt.Printf("sent %s step %d of %s\n", claim.SendKey, claim.Step, claim.Lead)
	return &pb.Outcome{Kind: pb.OutcomeKind_OUTCOME_KIND_DELIVERED}, nil
}

func (s *sender) report(outcomes []*pb.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	answer, err := call(s, s.client.ReportOutcomes, &pb.ReportOutcomesRequest{Parent: s.workspace, Outcomes: outcomes})
	for i, outcome := range outcomes {
		if err != nil {
			// Its claim becomes uncertain. This line tells people how to resolve it.
			log.Printf("not reported: %s %v", outcome.SendKey, outcome.Kind)
			continue
		}
		result := answer.Results[i]
		s.counts[result.Verdict]++
		if result.Verdict == pb.OutcomeVerdict_OUTCOME_VERDICT_REJECTED {
			log.Printf("rejected: %s %s: %s", outcome.SendKey, result.Reason, result.Message)
		}
	}
	return err
}

func (s *sender) release(claims []*pb.Claim, notBefore *timestamppb.Timestamp) error {
	if len(claims) == 0 {
		return nil
	}
	request := &pb.ReleaseClaimsRequest{Account: s.account, ClaimIds: ids(claims), NotBefore: notBefore}
	answer, err := call(s, s.client.ReleaseClaims, request)
	s.released += answer.GetReleasedCount()
	return err
}

func ids(claims []*pb.Claim) []string {
	ids := make([]string, len(claims))
	for i, claim := range claims {
		ids[i] = claim.ClaimId
	}
	return ids
}

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		log.Fatal("usage: sender SERVICE ACCOUNT [CAMPAIGN]")
	}
	service, account, campaign := os.Args[1], os.Args[2], append(os.Args, "")[3]
	stop, unregister := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer unregister()
	end, cancel := context.WithCancel(context.Background())
	context.AfterFunc(stop, func() { time.AfterFunc(stopMax, cancel) })
	reconnect := backoff.DefaultConfig
	reconnect.MaxDelay = 10 * time.Second // the default is two minutes
	connection, err := grpc.NewClient(service,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`), // all replicas, not one
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: deadline}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	workspace, _, _ := strings.Cut(account, "/accounts/")
	s := &sender{
		client: pb.NewSendingServiceClient(connection), account: account, workspace: workspace, campaign: campaign,
		stop: stop, end: end, counts: map[pb.OutcomeVerdict]int{}, busyBefore: map[string]bool{},
	}
	if err := s.run(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("end applied=%d duplicate=%d rejected=%d released=%d\n",
		s.counts[pb.OutcomeVerdict_OUTCOME_VERDICT_APPLIED], s.counts[pb.OutcomeVerdict_OUTCOME_VERDICT_DUPLICATE],
		s.counts[pb.OutcomeVerdict_OUTCOME_VERDICT_REJECTED], s.released)
}
