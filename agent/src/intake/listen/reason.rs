//! Why a connection does not become a session, and why a session ends; with MQTT's codes for both.

use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError};

/// Declares a list of reasons, their names in metrics and the array of all of them.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// The name in metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

reasons! {
    /// Why a connection did not become a session.
    Refusal {
        /// It was closed before a CONNECT came.
        Left = "left",
        /// No whole CONNECT within the time allowed.
        Late = "late",
        /// What came is no CONNECT, or a malformed one.
        Malformed = "malformed",
        /// Another version of MQTT than 5.
        Version = "version",
        /// A feature that we do not have: wills, enhanced authentication.
        Unsupported = "unsupported",
        /// The client id is no device id, or not the user name; or a password is missing.
        Identity = "identity",
        /// No such device.
        Unknown = "unknown",
        /// The device was revoked.
        Revoked = "revoked",
        /// Not the device's password.
        WrongPassword = "wrong_password",
        /// The certificate of the connection does not name the device.
        Certificate = "certificate",
        /// As many sessions as allowed are open.
        Full = "full",
        /// The acceptor's queue is full.
        Busy = "busy",
        /// The registry does not answer, or the agent is stopping.
        Unavailable = "unavailable",
    }
}

reasons! {
    /// Why TLS came to nothing.
    TlsRefusal {
        /// The connection ended before the handshake did.
        Left = "left",
        /// No whole handshake within the time allowed.
        Late = "late",
        /// What came is not TLS.
        NotTls = "not_tls",
        /// No version or cipher in common; we have TLS 1.2 and 1.3.
        Version = "version",
        /// The device showed no certificate.
        NoCertificate = "no_certificate",
        /// The device's certificate has expired.
        Expired = "expired",
        /// The device's certificate is not valid yet.
        NotValidYet = "not_valid_yet",
        /// The device's certificate is not signed by whom we trust.
        Untrusted = "untrusted",
        /// The device's certificate cannot be used for another reason.
        BadCertificate = "bad_certificate",
        /// The device's certificate names another device than the one that connects.
        OtherDevice = "other_device",
        /// The device does not take our certificate.
        Distrusted = "distrusted",
        /// Anything else.
        Other = "other",
    }
}

impl Refusal {
    /// For the CONNACK; none where nothing is to be said.
    pub(super) const fn code(self) -> Option<ConnectReasonCode> {
        match self {
            Self::Left | Self::Late => None,
            Self::Malformed => Some(ConnectReasonCode::MalformedPacket),
            Self::Version => Some(ConnectReasonCode::UnsupportedProtocolVersion),
            Self::Unsupported => Some(ConnectReasonCode::ImplementationSpecificError),
            Self::Identity | Self::Unknown | Self::WrongPassword => {
                Some(ConnectReasonCode::BadUserNameOrPassword)
            }
            Self::Revoked | Self::Certificate => Some(ConnectReasonCode::NotAuthorized),
            Self::Full => Some(ConnectReasonCode::QuotaExceeded),
            Self::Busy => Some(ConnectReasonCode::ServerBusy),
            Self::Unavailable => Some(ConnectReasonCode::ServerUnavailable),
        }
    }

    /// Whether the answer is held back for a moment, to slow down who tries passwords.
    pub(super) const fn is_about_identity(self) -> bool {
        matches!(
            self,
            Self::Identity
                | Self::Unknown
                | Self::Revoked
                | Self::WrongPassword
                | Self::Certificate
        )
    }

    /// Whether the client broke MQTT's rules.
    pub const fn is_malformed(self) -> bool {
        matches!(self, Self::Malformed)
    }
}

reasons! {
    /// Why a session ended.
    End {
        /// The device said DISCONNECT.
        Left = "left",
        /// The connection broke.
        Lost = "lost",
        /// Nothing came for one and a half times the keep alive.
        Silent = "silent",
        /// The device does not read what it is sent.
        Slow = "slow",
        /// The same device connected again.
        TakenOver = "taken_over",
        /// The acceptor closed it, or gave it up.
        Closed = "closed",
        /// The agent is stopping.
        Stopping = "stopping",
        /// A packet that cannot be parsed.
        Malformed = "malformed",
        /// A packet that is not allowed here.
        Protocol = "protocol",
        /// More unacknowledged publishes than the receive maximum.
        ReceiveMaximum = "receive_maximum",
        /// A topic alias above [`super::session::TOPIC_ALIAS_MAXIMUM`].
        TopicAlias = "topic_alias",
        /// A packet or payload beyond the limit.
        TooLarge = "too_large",
        /// A publish to no topic of ours.
        UnknownTopic = "unknown_topic",
        /// A publish to another device's topic, or to a downlink.
        ForeignTopic = "foreign_topic",
        /// A retained publish.
        Retain = "retain",
        /// A publish at QoS 2.
        Qos = "qos",
        /// A subscription identifier; we allow none.
        SubscriptionIdentifier = "subscription_identifier",
    }
}

impl End {
    /// For the DISCONNECT; none where nobody would read it.
    pub(super) const fn code(self) -> Option<DisconnectReasonCode> {
        use DisconnectReasonCode as Code;
        match self {
            Self::Left | Self::Lost | Self::Slow => None,
            Self::Silent => Some(Code::KeepAliveTimeout),
            Self::TakenOver => Some(Code::SessionTakenOver),
            Self::Closed => Some(Code::AdministrativeAction),
            Self::Stopping => Some(Code::ServerShuttingDown),
            Self::Malformed => Some(Code::MalformedPacket),
            Self::Protocol => Some(Code::ProtocolError),
            Self::ReceiveMaximum => Some(Code::ReceiveMaximumExceeded),
            Self::TopicAlias => Some(Code::TopicAliasInvalid),
            Self::TooLarge => Some(Code::PacketTooLarge),
            Self::UnknownTopic => Some(Code::TopicNameInvalid),
            Self::ForeignTopic => Some(Code::NotAuthorized),
            Self::Retain => Some(Code::RetainNotSupported),
            Self::Qos => Some(Code::QosNotSupported),
            Self::SubscriptionIdentifier => Some(Code::SubscriptionIdentifiersNotSupported),
        }
    }

    /// Whether the device broke MQTT's rules.
    pub const fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::Malformed
                | Self::Protocol
                | Self::ReceiveMaximum
                | Self::TopicAlias
                | Self::TooLarge
        )
    }

    /// The reason behind an error of the parser.
    pub(super) const fn from_parser(error: MqttError) -> Self {
        match error {
            MqttError::PacketTooLarge => Self::TooLarge,
            MqttError::ProtocolError => Self::Protocol,
            _ => Self::Malformed,
        }
    }
}
