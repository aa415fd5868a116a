from . import report as report
from .filterbanks import multires as multires
from .filterbanks.conv_fb import ConvFB as ConvFB
from .filterbanks.conv_smooth_fb import ConvSmoothFB as ConvSmoothFB
from .filterbanks.enc_dec import Decoder as Decoder
from .filterbanks.enc_dec import Encoder as Encoder
from .filterbanks.mod_cos_fb import CosFB as CosFB
from .filterbanks.mod_cos_fb import ModCosFB as ModCosFB
from .filterbanks.pairs import make_enc_dec as make_enc_dec
from .filterbanks.sinc_smooth_fb import SincSmoothFB as SincSmoothFB
from .masks import binary_mask as binary_mask
from .masks import energy_ratio_mask as energy_ratio_mask
from .masks import informed_separation as informed_separation
from .masks import ratio_mask as ratio_mask
from .models import pretrained as pretrained
from .models.representation import Representation as Representation
from .models.separators import SinuDAEConvTasNet as SinuDAEConvTasNet
from .models.separators import SinuDAEDPRNNTasNet as SinuDAEDPRNNTasNet
from .models.separators import SinuDAEDPTNet as SinuDAEDPTNet
from .models.separators import SinuDAELSTMTasNet as SinuDAELSTMTasNet
from .models.separators import STFTConvTasNet as STFTConvTasNet
from .models.sinudae import SinuDAE as SinuDAE
from .models.stft import STFT as STFT

__version__: str
