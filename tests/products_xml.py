"""Writers of satellite products for the tests: the names and the XML of the real ones, by text and rasterio alone."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

UTM33 = "EPSG:32633"
HERE = Affine(30, 0, 362175, 0, -30, 5809965)
ENMAP = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z"
DESIS = "DESIS-HSI-L2A-DT0707652640_011-20220404T193259-V0220"
SAFE = "S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS_20240830T134009.SAFE"
TILE = "T32TPS_20240830T100559"
GRANULE = "L2A_T32TPS_A038765_20240830T100558"
GRANULE_ID = "S2B_OPER_MSI_L2A_TL_2BPS_20240830T134009_A038765_T32TPS_N05.11"
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")


def raster(path, cube, *, transform=HERE, crs=UTM33, driver="GTiff", **profile):
    """A raster of a channel-first cube."""
    cube = cube[None] if cube.ndim == 2 else cube
    profile |= {"count": len(cube), "height": cube.shape[1], "width": cube.shape[2], "dtype": cube.dtype}
    with rasterio.open(path, "w", driver=driver, crs=crs, transform=transform, **profile) as file:
        file.write(cube)
    return path


def enmap_xml(centres, *, gain=0.0001, offset=0.0, width=8.0):
    """The XML of EnMAP with what stands in the way of a careless reader: bandID entries of another kind."""
    bands = "".join(
        f'<bandID number="{i}"><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand><FWHMOfBand>{width + i / 10:g}'
        f"</FWHMOfBand><GainOfBand>{gain}</GainOfBand><OffsetOfBand>{offset}</OffsetOfBand></bandID>"
        for i, centre in enumerate(centres, 1)
    )
    statistics = "".join(f'<bandID number="{i}"><mean>7</mean></bandID>' for i, _ in enumerate(centres, 1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<level_X xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="level_X.xsd">'
        "<metadata><comment>EnMAP</comment></metadata>"
        f"<product><bandStatistics>{statistics}</bandStatistics></product>"
        f"<specific><backgroundValue>0</backgroundValue><bandCharacterisation>{bands}</bandCharacterisation></specific>"
        "</level_X>\n"
    )


def write_enmap(folder, cube, *, centres=None, layers=None, stem=ENMAP, copy="", ending="TIF", nodata=-32768, **xml):
    """An EnMAP product; `layers` are the rasters after `QL_`, such as QUALITY_CLOUD."""
    target = Path(folder) / stem
    target.mkdir(parents=True, exist_ok=True)
    centres = [round(418.2 + 6.5 * i, 3) for i in range(len(cube))] if centres is None else centres
    (target / f"{stem}-METADATA.XML").write_text(enmap_xml(centres, **xml))
    raster(target / f"{stem}-SPECTRAL_IMAGE{copy}.{ending}", cube, nodata=nodata)
    for name, values in (layers or {}).items():
        raster(target / f"{stem}-QL_{name}{copy}.{ending}", values)
    return target


def desis_xml(centres, *, gain=0.0001, offset=0.0, width=3.5):
    """The XML of DESIS, with the geometric <band> entries beside the spectral ones."""
    bands = "".join(
        f"<band><bandNumber>{i}</bandNumber><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand>"
        f"<wavelengthWidthOfBand>{width + i / 10:g}</wavelengthWidthOfBand><response>0.1,1,0.1</response>"
        f"<wavelengths>{centre - 2},{centre},{centre + 2}</wavelengths><gainOfBand>{gain}</gainOfBand>"
        f"<offsetOfBand>{offset}</offsetOfBand><deadPixels>0</deadPixels></band>"
        for i, centre in enumerate(centres, 1)
    )
    geometry = "".join(f"<band><bandNumber>{i}</bandNumber></band>" for i, _ in enumerate(centres, 1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<hsi_doc><metadata/><product/><base/>'
        f"<specific><interiorOrientation>{geometry}</interiorOrientation>"
        f"<bandCharacterisation>{bands}</bandCharacterisation></specific></hsi_doc>\n"
    )


def write_desis(folder, cube, *, quality=None, stem=DESIS, nodata=-32768, **xml):
    """A DESIS product; `quality` are the ten bands of QL_QUALITY-2. The header beside the cube is the archive's."""
    target = Path(folder) / stem
    target.mkdir(parents=True, exist_ok=True)
    centres = [round(401.275 + 2.553 * i, 3) for i in range(len(cube))]
    (target / f"{stem}-METADATA.xml").write_text(desis_xml(centres, **xml))
    (target / f"{stem}-SPECTRAL_IMAGE.hdr").write_text("ENVI\nsamples = 1\nlines = 1\nbands = 1\ndata type = 2\n")
    raster(target / f"{stem}-SPECTRAL_IMAGE.tif", cube, nodata=nodata, interleave="pixel")
    raster(target / f"{stem}-QL_QUALITY.tif", np.zeros(cube.shape, "uint8"))
    if quality is not None:
        raster(target / f"{stem}-QL_QUALITY-2.tif", quality)
    return target


# bandId, physicalBand, RESOLUTION, MIN, MAX, CENTRAL of Sentinel-2B
S2_SPECTRAL = (
    (0, "B1", 60, 411, 456, 442.3),
    (1, "B2", 10, 456, 532, 492.3),
    (2, "B3", 10, 536, 582, 559.0),
    (3, "B4", 10, 646, 685, 665.0),
    (4, "B5", 20, 694, 714, 703.8),
    (5, "B6", 20, 730, 748, 739.1),
    (6, "B7", 20, 766, 794, 779.7),
    (7, "B8", 10, 774, 907, 833.0),
    (8, "B8A", 20, 848, 881, 864.0),
    (9, "B9", 60, 930, 957, 943.2),
    (10, "B10", 60, 1338, 1413, 1376.9),
    (11, "B11", 20, 1538, 1679, 1610.4),
    (12, "B12", 20, 2065, 2303, 2185.7),
)


def s2_xml(files, *, baseline="05.11", quantum="10000", offset="-1000", response=True):
    """The product XML: a namespace at the root only, B2 where files say B02, band_id beside bandId."""
    listed = "".join(f"<IMAGE_FILE>{name}</IMAGE_FILE>" for name in files)
    spectral = ""
    for number, name, resolution, low, high, centre in S2_SPECTRAL:
        # A triangle over MIN..MAX, whose width at half maximum is half its base.
        at = np.arange(low, high + 1)
        values = 1 - np.abs(at - (low + high) / 2) / ((high - low) / 2 + 1)
        curve = f'<Spectral_Response><STEP unit="nm">1</STEP><VALUES>{" ".join(map(str, values))}</VALUES></Spectral_Response>'
        spectral += (
            f'<Spectral_Information bandId="{number}" physicalBand="{name}"><RESOLUTION>{resolution}</RESOLUTION>'
            f'<Wavelength><MIN unit="nm">{low}</MIN><MAX unit="nm">{high}</MAX><CENTRAL unit="nm">{centre}</CENTRAL>'
            f"</Wavelength>{curve if response else ''}</Spectral_Information>"
        )
    shifts = "".join(f'<BOA_ADD_OFFSET band_id="{row[0]}">{offset}</BOA_ADD_OFFSET>' for row in S2_SPECTRAL)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<n1:Level-2A_User_Product '
        'xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd"><n1:General_Info>'
        f"<Product_Info><PRODUCT_URI>{SAFE}</PRODUCT_URI><PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>"
        f"<PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
        f'<Product_Organisation><Granule_List><Granule granuleIdentifier="{GRANULE_ID}" imageFormat="JPEG2000">{listed}'
        "</Granule></Granule_List></Product_Organisation><Query_Options><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>"
        "</Query_Options></Product_Info>"
        "<Product_Image_Characteristics><Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>"
        "<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values><QUANTIFICATION_VALUES_LIST>"
        f'<BOA_QUANTIFICATION_VALUE unit="none">{quantum}</BOA_QUANTIFICATION_VALUE>'
        '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        + (f"<BOA_ADD_OFFSET_VALUES_LIST>{shifts}</BOA_ADD_OFFSET_VALUES_LIST>" if offset is not None else "")
        + f"<Spectral_Information_List>{spectral}</Spectral_Information_List>"
        "</Product_Image_Characteristics></n1:General_Info></n1:Level-2A_User_Product>\n"
    )


def s2_tile_xml(rows, cols):
    """The XML of the granule, from which GDAL takes the grids."""
    grids = "".join(
        f'<Size resolution="{r}"><NROWS>{rows * 20 // r}</NROWS><NCOLS>{cols * 20 // r}</NCOLS></Size>'
        f'<Geoposition resolution="{r}"><ULX>600000</ULX><ULY>5000040</ULY><XDIM>{r}</XDIM><YDIM>-{r}</YDIM></Geoposition>'
        for r in (10, 20, 60)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<n1:Level-2A_Tile_ID '
        'xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">'
        f"<n1:General_Info><TILE_ID>{GRANULE_ID}</TILE_ID></n1:General_Info><n1:Geometric_Info><Tile_Geocoding>"
        "<HORIZONTAL_CS_NAME>WGS84 / UTM zone 32N</HORIZONTAL_CS_NAME><HORIZONTAL_CS_CODE>EPSG:32632</HORIZONTAL_CS_CODE>"
        f"{grids}</Tile_Geocoding></n1:Geometric_Info></n1:Level-2A_Tile_ID>\n"
    )


def write_sentinel2(folder, cube, *, scl=None, **xml):
    """A SAFE folder: nine bands at 20 m, and others at 10 m, 20 m and 60 m that must not get into the scene."""
    safe = Path(folder) / SAFE
    images = safe / "GRANULE" / GRANULE / "IMG_DATA"
    for name in ("R10m", "R20m", "R60m"):
        (images / name).mkdir(parents=True)
    (safe / "GRANULE" / GRANULE / "MTD_TL.xml").write_text(s2_tile_xml(*cube.shape[1:]))
    place = {"crs": "EPSG:32632", "driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    at20 = Affine(20, 0, 600000, 0, -20, 5000040)
    others = np.full_like(cube[0], 4321)
    for band, values in zip(S2_BANDS, cube, strict=True):
        raster(images / "R20m" / f"{TILE}_{band}_20m.jp2", values, transform=at20, **place)
    raster(images / "R20m" / f"{TILE}_B01_20m.jp2", others, transform=at20, **place)
    raster(images / "R20m" / f"{TILE}_AOT_20m.jp2", others, transform=at20, **place)
    raster(images / "R10m" / f"{TILE}_B02_10m.jp2", others.repeat(2, 0).repeat(2, 1), transform=at20, **place)
    if scl is not None:
        raster(images / "R20m" / f"{TILE}_SCL_20m.jp2", scl, transform=at20, **place)
    files = [str(p.relative_to(safe).with_suffix("")) for p in sorted(images.glob("*/*.jp2"))]
    (safe / "MTD_MSIL2A.xml").write_text(s2_xml(files, **xml))
    return safe
