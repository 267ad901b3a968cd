"""An example of a sender. It claims messages of one account, sends them, and reports what became of each.

    python sender.py SERVICE ACCOUNT [CAMPAIGN]
    python sender.py 127.0.0.1:50051 workspaces/default/accounts/anna

With CAMPAIGN (workspaces/default/campaigns/welcome) it sends for that one alone, otherwise for all that the account serves.
Replace `send` by your provider. docs/senders.md explains the rest. SIGTERM or Ctrl-C ends the sender: it reports what it
has sent and gives back the rest.
"""

import collections
import itertools
import random
import signal
import sys
import threading
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from campaign_metrics.v1 import campaign_pb2, outcome_pb2 as pb
from campaign_metrics.v1.outcome_pb2_grpc import SendingServiceStub

PER_SECOND = 100  # messages that the provider takes
MAX_CLAIMS = 100  # of a call: far fewer than can be sent in the 5 minutes for which claims are held
PORTION = 10  # messages between a renewal and a report; a pause takes effect after at most so many
POLL_SECONDS = 30  # longest wait: nobody tells a sender that leads were added or a campaign was resumed
DEADLINE_SECONDS = 10  # for one attempt of a call
STOP_SECONDS = 20  # for repeats after SIGTERM; less than the grace period of a Pod, which is 30 s
CHANNEL = {
    "grpc.service_config": '{"loadBalancingConfig": [{"round_robin": {}}]}',  # all replicas, not one
    "grpc.keepalive_time_ms": 30_000,  # finds out that a replica has gone without a word
    "grpc.max_reconnect_backoff_ms": 10_000,  # the default is two minutes
}
REPEATED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Busy(Exception):
    """The provider takes no message now, and has not taken this one."""


def asked_wait_seconds(error):
    """How long the service asks to wait at least before a repeat: the RetryInfo of an error."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToNanoseconds() / 1e9
    return 0


class Sender:
    def __init__(self, channel, account, campaign):
        self.service, self.account, self.campaign = SendingServiceStub(channel), account, campaign
        self.workspace = account.split("/accounts/")[0]
        self.stop, self.stop_time = threading.Event(), float("inf")
        self.counts, self.released = collections.Counter(), 0
        self.busy_before = set()  # only for the stand-in

    def await_signal(self):
        signal.sigwait(SIGNALS)
        self.stop_time = time.monotonic()
        self.stop.set()

    def call(self, method, request):
        """Returns the answer, after repeats if necessary. A repeat is the same request with the same request id."""
        for attempt in itertools.count():
            try:
                return method(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                is_late = time.monotonic() > self.stop_time + STOP_SECONDS
                if error.code() not in REPEATED or is_late:
                    raise
                print(f"repeat after {error.code().name}: {error.details()}", file=sys.stderr)
                least = asked_wait_seconds(error)
            # At random, so that senders that failed together do not come back together.
            if self.stop.is_set():
                time.sleep(1)
            else:
                self.stop.wait(max(min(2**attempt, 16), least) * random.uniform(1, 1.5))

    def run(self):
        while not self.stop.is_set():
            # One id for each request, also when the call is repeated: a lost answer then loses no claims.
            request_id = str(uuid.uuid4())
            request = pb.ClaimSendsRequest(
                account=self.account, campaign=self.campaign, max_claims=MAX_CLAIMS, request_id=request_id
            )
            answer = self.call(self.service.ClaimSends, request)
            unsent = list(answer.claims)
            try:
                while unsent and not self.stop.is_set():
                    # After an error a portion is not given back: some of it may have been sent.
                    portion, unsent = unsent[:PORTION], unsent[PORTION:]
                    self.send_portion(portion)
            finally:
                self.release(unsent)
            if not answer.claims:
                wait = POLL_SECONDS
                if answer.HasField("next_change_time"):
                    wait = min(max(answer.next_change_time.ToNanoseconds() / 1e9 - time.time(), 1), POLL_SECONDS)
                self.stop.wait(wait * random.uniform(1, 1.1))

    def send_portion(self, claims):
        """Sends what may still be sent, reports it, and gives back the rest."""
        request = pb.RenewClaimsRequest(account=self.account, claim_ids=[claim.claim_id for claim in claims])
        outcomes, unsent, busy = [], [], []
        for claim, renewal in zip(claims, self.call(self.service.RenewClaims, request).results):
            if self.stop.is_set() or renewal.verdict != pb.RENEW_VERDICT_RENEWED:
                unsent.append(claim)
                continue
            try:
                outcome = self.send(claim)
            except Busy:
                busy.append(claim)
                continue
            except Exception as error:
                print(f"unknown whether {claim.send_key} was sent: {error!r}", file=sys.stderr)
                continue
            outcome.send_key = claim.send_key
            outcome.time.GetCurrentTime()
            outcomes.append(outcome)
        self.report(outcomes)
        self.release(unsent)
        self.release(busy, after_seconds=2)

    def send(self, claim):
        """A stand-in for the provider; leads whose ids begin with `busy` or `wrong` show what can happen.

        `claim.campaign` and `claim.step` say which message to send, `claim.lead` to whom. Pass `claim.send_key` to the provider as the idempotency key. If it is unknown whether the provider took the
        message, ask again with the same key. If that fails too, raise an error: nothing is reported, and the claim becomes
        uncertain.
        """
        time.sleep(1 / PER_SECOND)
        lead = claim.lead.rsplit("/", 1)[1]
        if lead.startswith("busy") and claim.send_key not in self.busy_before:
            self.busy_before.add(claim.send_key)
            raise Busy
        if lead.startswith("wrong"):
            reason = campaign_pb2.FAILURE_REASON_INVALID_LEAD
            return pb.Outcome(kind=pb.OUTCOME_KIND_FAILED, reason=reason, detail="no such address")
        print(f"sent {claim.send_key} step {claim.step} of {claim.lead}", flush=True)
        return pb.Outcome(kind=pb.OUTCOME_KIND_DELIVERED)

    def report(self, outcomes):
        if not outcomes:
            return
        try:
            request = pb.ReportOutcomesRequest(parent=self.workspace, outcomes=outcomes)
            results = self.call(self.service.ReportOutcomes, request).results
        except grpc.RpcError:
            # Their claims become uncertain. These lines tell people how to resolve them.
            for outcome in outcomes:
                print(f"not reported: {outcome.send_key} {pb.OutcomeKind.Name(outcome.kind)}", file=sys.stderr)
            raise
        for outcome, result in zip(outcomes, results):
            self.counts[result.verdict] += 1
            if result.verdict == pb.OUTCOME_VERDICT_REJECTED:
                print(f"rejected: {outcome.send_key} {result.reason}: {result.message}", file=sys.stderr)

    def release(self, claims, after_seconds=0):
        if not claims:
            return
        request = pb.ReleaseClaimsRequest(account=self.account, claim_ids=[claim.claim_id for claim in claims])
        if after_seconds:
            request.not_before.FromNanoseconds(int((time.time() + after_seconds) * 1e9))
        self.released += self.call(self.service.ReleaseClaims, request).released_count


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: sender.py SERVICE ACCOUNT [CAMPAIGN]")
    service, account, campaign = (*sys.argv[1:], "")[:3]
    # A thread waits for signals: a handler that sets an Event could interrupt, and block, the wait for it. Later threads
    # inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with grpc.insecure_channel(service, list(CHANNEL.items())) as channel:
        sender = Sender(channel, account, campaign)
        threading.Thread(target=sender.await_signal, daemon=True).start()
        try:
            sender.run()
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
        verdicts = (pb.OUTCOME_VERDICT_APPLIED, pb.OUTCOME_VERDICT_DUPLICATE, pb.OUTCOME_VERDICT_REJECTED)
        applied, duplicate, rejected = (sender.counts[verdict] for verdict in verdicts)
        print(f"end applied={applied} duplicate={duplicate} rejected={rejected} released={sender.released}")


if __name__ == "__main__":
    main()
