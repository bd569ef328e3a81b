"""What is recorded about a job when it ends: metrics, a log line and an audit line."""

from service.jobs.job import Job
from service.monitoring.log import log_line
from service.monitoring.metrics import Metrics
from service.schemas import Report
from service.security.audit import AuditLog


def record_job(job: Job, report: Report | None, metrics: Metrics, audit_log: AuditLog) -> None:
    """Record a job that ended, and its report if it has one."""
    metrics.count_job(job, report)
    problem = job.record.problem and job.record.problem.type
    outcome = {"job": job.id, "outcome": job.outcome, "problem": problem}
    log_line(
        "job",
        **outcome,
        wait_ms=job.progress.timings_ms.get("wait"),
        compute_ms=round(1000 * job.progress.compute_s, 1),
        shape=job.shape,
    )
    audit_log.record("job", **outcome, key=job.record.owner, input=job.record.digest)
