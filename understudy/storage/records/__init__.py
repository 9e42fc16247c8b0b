"""The values that rows become: frozen, complete, shared by the actors and the repositories. One file per noun.

No record knows SQL and none knows an actor. Times are UTC and aware.
"""

from understudy.storage.records.activity import Activity as Activity
from understudy.storage.records.activity import Done as Done
from understudy.storage.records.agents import Agent as Agent
from understudy.storage.records.agents import AgentHealth as AgentHealth
from understudy.storage.records.agents import AgentVersion as AgentVersion
from understudy.storage.records.approvals import Approval as Approval
from understudy.storage.records.approvals import ApprovalStatus as ApprovalStatus
from understudy.storage.records.audit import AuditEntry as AuditEntry
from understudy.storage.records.audit import AuditVerdict as AuditVerdict
from understudy.storage.records.diagnostics import DiagnosticRun as DiagnosticRun
from understudy.storage.records.grants import Grant as Grant
from understudy.storage.records.idempotency import IdempotencyKey as IdempotencyKey
from understudy.storage.records.idempotency import KeyClaim as KeyClaim
from understudy.storage.records.idempotency import StoredAnswer as StoredAnswer
from understudy.storage.records.identity import LockoutRule as LockoutRule
from understudy.storage.records.identity import RefreshToken as RefreshToken
from understudy.storage.records.identity import Rotation as Rotation
from understudy.storage.records.identity import RotationOutcome as RotationOutcome
from understudy.storage.records.identity import User as User
from understudy.storage.records.memories import MemoryCategory as MemoryCategory
from understudy.storage.records.memories import MemoryEntry as MemoryEntry
from understudy.storage.records.memories import MemoryHits as MemoryHits
from understudy.storage.records.memories import MemoryTier as MemoryTier
from understudy.storage.records.memories import Profile as Profile
from understudy.storage.records.memories import Shelf as Shelf
from understudy.storage.records.messages import Message as Message
from understudy.storage.records.messages import MessageHit as MessageHit
from understudy.storage.records.messages import Role as Role
from understudy.storage.records.messages import ToolCall as ToolCall
from understudy.storage.records.outbox import OutboxItem as OutboxItem
from understudy.storage.records.sessions import RunEvent as RunEvent
from understudy.storage.records.sessions import Session as Session
from understudy.storage.records.sessions import SessionKey as SessionKey
from understudy.storage.records.sessions import SessionStatus as SessionStatus
from understudy.storage.records.skills import SkillUsage as SkillUsage
from understudy.storage.records.turns import Turn as Turn
from understudy.storage.records.turns import TurnStatus as TurnStatus
from understudy.storage.records.turns import Usage as Usage
from understudy.storage.records.values import Headers as Headers
from understudy.storage.records.values import Json as Json
from understudy.storage.records.values import new_id as new_id
from understudy.storage.records.workspaces import ANYTHING as ANYTHING
from understudy.storage.records.workspaces import Member as Member
from understudy.storage.records.workspaces import MemberChange as MemberChange
from understudy.storage.records.workspaces import Membership as Membership
from understudy.storage.records.workspaces import Restrictions as Restrictions
from understudy.storage.records.workspaces import Workspace as Workspace
from understudy.storage.records.workspaces import WorkspaceChange as WorkspaceChange
from understudy.storage.records.workspaces import WorkspaceRole as WorkspaceRole
